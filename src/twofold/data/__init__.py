"""From files to a validated dataset. Knows nothing of models; needs no torch."""
