"""The two tasks: splits, training examples, requests with qrels, and the data report."""
