"""What a verdict is computed from: whether the data can decide, by which rule, and how many do."""
