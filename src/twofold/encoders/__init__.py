"""Encoders map texts and histories to vectors; they are fitted on training examples only."""
