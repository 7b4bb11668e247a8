"""The units of a study, and the workers that run them, in this process or in several."""
