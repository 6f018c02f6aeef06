"""Manifests for Kubernetes and the generator that renders them from the chart."""
