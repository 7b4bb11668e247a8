"""The analyses of a study, one file each."""
