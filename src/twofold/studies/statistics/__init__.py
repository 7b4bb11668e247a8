"""The statistics of verdicts: whether the data can decide, the decision rule, looks and power."""
