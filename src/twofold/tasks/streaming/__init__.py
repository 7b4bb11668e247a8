"""Large Parquet tables, prepared piece by piece."""
