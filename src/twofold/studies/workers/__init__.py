"""Who does the work of a study: its units, in this process or in several."""
