"""Charts: drawn by Altair, rendered by vl-convert, without downloads or scripts."""
