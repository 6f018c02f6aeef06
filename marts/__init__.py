"""The meaning of the numbers in the data marts. Pure: Arrow and SQL in, Arrow out."""

__version__ = "0.1.0"
