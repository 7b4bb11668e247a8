"""The output of a study for people: the report, and tables for a paper."""
