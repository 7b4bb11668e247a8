"""Texts to vectors; fitted on training examples only."""
