"""Logging, retries and other parts that every process needs."""
