"""The units of a study, and the workers that run them in one or several processes."""
