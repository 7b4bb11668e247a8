"""The server: sockets, limits, keys, metrics and errors."""
