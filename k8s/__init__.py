"""Manifests for Kubernetes, and what makes them from the chart."""
