"""Retrieval: a trained model ranks items for requests. It imports no training code."""
