"""A model and its changing catalog, behind a queue that collects requests into batches."""
