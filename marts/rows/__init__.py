"""Rows: CSV records, typed values, hashes."""
