"""The same jobs on a Ray cluster: thin, without logic of their own."""
