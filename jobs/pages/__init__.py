"""Served pages: figures of the live marts that people choose by date, place and kind."""
