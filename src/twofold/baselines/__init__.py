"""The baselines that the arms of a study are compared with; each is a `Retriever`."""
