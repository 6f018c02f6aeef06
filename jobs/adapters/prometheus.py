"""Prometheus' own formats: a file for node_exporter's textfile collector, and the Pushgateway."""

from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path

from prometheus_client import CollectorRegistry, pushadd_to_gateway, write_to_textfile
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from jobs.ports.metrics import PREFIX, Sample, by_name
from marts.errors import ServiceError

JOB = "martwright"
"""The label ``job`` of what is pushed."""


def write_textfile(path: str, samples: Sequence[Sample]) -> None:
    """Write samples to a file, whole or not at all. Each pipeline has a file of its own.

    A gauge that these samples do not know, such as the last success while the database is down, stays as the
    file has it: as on a Pushgateway. Raises ServiceError.
    """
    try:
        write_to_textfile(path, _registry([*samples, *_kept(path, samples)]))
    except OSError as error:
        hint = "metrics.textfile is in a folder that is there, and that we may write to; node_exporter reads it"
        raise ServiceError(f"cannot be written: {error.strerror}", path, hint) from error


def push(gateway: str, pipeline: str, samples: Sequence[Sample], timeout: float) -> None:
    """Push samples to a Pushgateway. What was pushed before under other names stays. Raises ServiceError."""
    try:
        pushadd_to_gateway(gateway, JOB, _registry(samples), {"pipeline": pipeline}, timeout)
    except (OSError, HTTPException, ValueError) as error:
        hint = "is metrics.pushgateway the URL of a Pushgateway, and does it answer from here?"
        raise ServiceError(f"the Pushgateway does not take the metrics: {error}", gateway, hint) from error


def _kept(path: str, samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples of a file that stay. One that is not ours to read, or damaged, is written anew."""
    try:
        families = list(text_string_to_metric_families(Path(path).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return []
    new = {sample.name for sample in samples}
    pipelines = {sample.labels.get("pipeline") for sample in samples}
    return [
        Sample(old.name, family.documentation, old.value, old.labels)
        for family in families
        for old in family.samples
        if old.name.startswith(PREFIX) and old.name not in new and old.labels.get("pipeline") in pipelines
    ]


def _registry(samples: Sequence[Sample]) -> CollectorRegistry:
    """Put samples where the client looks for them."""
    registry = CollectorRegistry()
    registry.register(_Gauges(samples))
    return registry


class _Gauges(Collector):
    """Gauges as the client wants them."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for name, samples in by_name(self._samples).items():
            labels = sorted(samples[0].labels)
            family = GaugeMetricFamily(name, samples[0].help, labels=labels)
            for sample in samples:
                family.add_metric([sample.labels[label] for label in labels], sample.value)
            yield family
