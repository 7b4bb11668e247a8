"""What people read of a study: the report, and tables for a paper."""
