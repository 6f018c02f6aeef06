"""Calculations, most of them SQL."""
