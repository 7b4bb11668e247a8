"""Large tables in Parquet, CSV, TSV and JSON Lines, also compressed, prepared piece by piece."""
