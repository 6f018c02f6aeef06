"""Publish the gauges of a run to Prometheus by each configured way. A failure is a warning, never an error."""

from collections.abc import Callable, Iterator, Sequence

from jobs.adapters.prometheus import push, write_textfile
from jobs.adapters.ray.cluster import Cluster
from jobs.config.settings import Settings
from jobs.ports.metrics import Sample, of_pipeline
from jobs.runtime.scrub import scrub
from marts.errors import MartsError

TIMEOUT = 10.0
"""Timeout of a Pushgateway, in seconds."""


def publish_metrics(settings: Settings, samples: Sequence[Sample], cluster: Cluster | None) -> list[str]:
    """Publish the gauges of a run. Return a warning for each way that failed."""
    labelled = of_pipeline(samples, settings.metrics.pipeline)
    warnings = []
    for send in _ways(settings, labelled, cluster):
        try:
            send()
        except MartsError as error:
            hint = f" ({error.hint})" if error.hint else ""
            warnings.append(scrub(f"the metrics of this run were not published: {error}{hint}"))
    return warnings


def _ways(settings: Settings, samples: Sequence[Sample], cluster: Cluster | None) -> Iterator[Callable[[], None]]:
    wanted = settings.metrics
    if path := wanted.textfile:
        yield lambda: write_textfile(path, samples)
    if gateway := wanted.pushgateway:
        yield lambda: push(gateway, wanted.pipeline, samples, TIMEOUT)
    if cluster and wanted.ray:
        yield lambda: cluster.report(samples, wanted.ray)
