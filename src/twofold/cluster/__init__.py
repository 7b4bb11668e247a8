"""Training in several processes, and all stages on a Ray cluster, as thin wrappers."""
