"""Runs and qrels to numbers with intervals. Needs no torch."""
