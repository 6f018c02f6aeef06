"""The way of the data, step by step."""
