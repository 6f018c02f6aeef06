"""Helpers of the tests: places to work in, real servers, an oracle."""
