"""The generative model: one vocabulary, a Hugging Face backbone, and its folder on disk."""
