"""Layouts of folders, one file each: `recognises(folder)` and `tables(folder)`."""
