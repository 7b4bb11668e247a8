"""Simulated datasets, one file a world (the two latent worlds share one)."""
