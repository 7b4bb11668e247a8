"""How items are named to the model: identifiers made of codes."""
