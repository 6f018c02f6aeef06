"""Data quality rules and their measures."""
