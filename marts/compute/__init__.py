"""Calculations, mostly SQL."""
