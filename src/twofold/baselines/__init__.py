"""What the arms are set beside; each is a `Retriever`."""
