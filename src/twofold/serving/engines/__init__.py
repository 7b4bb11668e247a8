"""A model and its catalog, behind a queue that makes batches of requests."""
