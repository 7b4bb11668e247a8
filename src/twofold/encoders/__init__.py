"""Texts and histories to vectors; fitted on training examples only."""
