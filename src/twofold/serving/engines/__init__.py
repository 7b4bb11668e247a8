"""A model and its living catalog, behind a queue that collects requests into batches."""
