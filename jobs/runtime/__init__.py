"""Logs, retries, and what else every process needs."""
