"""Interfaces, and the values that cross them."""
