"""Rows: records of files, values, hashes."""
