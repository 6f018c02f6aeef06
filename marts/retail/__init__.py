"""The retail pack: its drops, tables and SQL, and generators of realistic drops."""
