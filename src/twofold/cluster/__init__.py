"""The same jobs in many processes and on a Ray cluster; thin wrappers around the other packages."""
