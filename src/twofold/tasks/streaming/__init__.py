"""Large tables in Parquet, CSV and TSV, prepared piece by piece."""
