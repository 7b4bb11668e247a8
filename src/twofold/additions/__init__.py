"""Items that come after training: fields, placement, embeddings, the log and its replay."""
