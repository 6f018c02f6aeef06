"""A run: its stages, and its life."""
