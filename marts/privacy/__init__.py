"""Masking and erasure of personal data."""
