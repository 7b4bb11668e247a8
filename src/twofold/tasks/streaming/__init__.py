"""Large tables in Parquet, CSV, TSV and JSON Lines, prepared piece by piece."""
