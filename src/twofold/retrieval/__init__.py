"""Requests to ranked items with a trained model. Needs no training code."""
