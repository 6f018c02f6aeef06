"""Reports, notices and metrics of runs."""
