"""One recipe for every arm: examples in, a model folder out."""
