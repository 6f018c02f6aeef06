"""One module per external system; its SDK is imported nowhere else."""
