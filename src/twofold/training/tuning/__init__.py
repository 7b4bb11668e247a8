"""The choice of an arm's recipe on validation."""
