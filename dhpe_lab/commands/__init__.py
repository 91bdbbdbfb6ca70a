"""The commands of ``dhpe`` that train, measure and prepare data."""
