"""Interfaces, and the values that they exchange."""
