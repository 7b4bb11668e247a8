"""Measures of runs against qrels, and their intervals. Needs no torch."""
