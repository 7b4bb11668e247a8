"""Items that are added after training, without training: placement, embeddings, log and replay."""
