"""Training in several processes; study, train, evaluate and serve on a Ray cluster."""
