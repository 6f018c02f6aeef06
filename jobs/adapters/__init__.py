"""One module per outside system; its SDK is imported nowhere else."""
