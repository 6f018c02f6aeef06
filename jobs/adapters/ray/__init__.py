"""Ray: tasks, clusters, the Jobs API, the autoscaler and metrics."""
