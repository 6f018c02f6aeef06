"""Export to Prometheus: a file for node_exporter's textfile collector, the Pushgateway, and a server that it asks."""

from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Histogram,
    ProcessCollector,
    generate_latest,
    pushadd_to_gateway,
    write_to_textfile,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from jobs.ports.metrics import PREFIX, Sample, by_name
from marts.errors import ServiceError

JOB = "martwright"
"""The label ``job`` of pushed metrics."""


def write_textfile(path: str, samples: Sequence[Sample]) -> None:
    """Write samples to a file atomically. Each pipeline has its own file.

    Gauges that are not among the samples, such as the last success while the database is down, keep their values from
    the file, as on a Pushgateway. Raises ServiceError.
    """
    try:
        write_to_textfile(path, _registry([*samples, *_kept(path, samples)]))
    except OSError as error:
        hint = "check that the folder of metrics.textfile exists and is writable; node_exporter reads it"
        raise ServiceError(f"cannot be written: {error.strerror}", path, hint) from error


def push(gateway: str, pipeline: str, samples: Sequence[Sample], timeout: float) -> None:
    """Push samples to a Pushgateway. Metrics with other names stay there. Raises ServiceError."""
    try:
        pushadd_to_gateway(gateway, JOB, _registry(samples), {"pipeline": pipeline}, timeout)
    except (OSError, HTTPException, ValueError) as error:
        hint = "check that metrics.pushgateway is the URL of a Pushgateway and reachable from here"
        raise ServiceError(f"the Pushgateway does not accept the metrics: {error}", gateway, hint) from error


class ServerMetrics:
    """The metrics of a server: its process and its answers, beside the samples that it is given."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._seconds = Histogram(
            f"{PREFIX}pages_request_duration_seconds",
            "Seconds that answers took, by status.",
            ["status"],
            registry=self._registry,
        )

    def observe(self, status: int, seconds: float) -> None:
        """Count an answer."""
        self._seconds.labels(str(status)).observe(seconds)

    def exposed(self, samples: Sequence[Sample]) -> bytes:
        """Return everything in the text format of Prometheus."""
        return generate_latest(self._registry) + generate_latest(_registry(samples))


def _kept(path: str, samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples of a file to keep. A missing or damaged file has none."""
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
    """Return a registry with the samples."""
    registry = CollectorRegistry()
    registry.register(_Gauges(samples))
    return registry


class _Gauges(Collector):
    """A collector of the samples, as gauges."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for name, samples in by_name(self._samples).items():
            labels = sorted(samples[0].labels)
            family = GaugeMetricFamily(name, samples[0].help, labels=labels)
            for sample in samples:
                family.add_metric([sample.labels[label] for label in labels], sample.value)
            yield family
