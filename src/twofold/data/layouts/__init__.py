"""Published layouts, one file each."""
