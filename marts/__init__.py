"""What the numbers of the data marts mean. Pure: Arrow and SQL in, Arrow out."""

__version__ = "0.1.0"
