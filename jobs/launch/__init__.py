"""Builds on clusters."""
