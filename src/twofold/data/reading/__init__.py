"""One file for each step from the bytes of a file to the columns of a table, all as text."""
