"""A run: its stages and its lifecycle."""
