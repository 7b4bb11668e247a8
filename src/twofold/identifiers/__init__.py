"""Identifiers of items, made of codes: atomic ones and semantic IDs."""
