"""Simulated datasets, as ordinary tables."""
