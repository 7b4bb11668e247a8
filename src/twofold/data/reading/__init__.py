"""From the bytes of a file to the columns of a table, all as text; one file for each step."""
