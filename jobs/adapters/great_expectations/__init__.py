"""Validate the workers' measures with Great Expectations. Slow to import: on the driver only, when needed."""
