"""Before a study trains: its config, the checks of it, its questions, and its plan."""
