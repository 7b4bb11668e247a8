"""The same jobs in many processes and on a Ray cluster: thin, without logic of their own."""
