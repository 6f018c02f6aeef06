"""An actor that exports gauges with Ray's own metrics."""

import time
from collections.abc import Sequence

from jobs.ports.metrics import Sample, by_name

_REFRESH = 1.0
"""Seconds after which a gauge is set again. Ray exports a gauge for two of its report intervals after it was set (20 s
by default, never less than 2 s), then drops it."""


class Gauges:
    """An actor that exports gauges with Ray's metrics for some time."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        from ray.util.metrics import Gauge

        groups = by_name(samples).items()
        self._gauges = {name: Gauge(name, group[0].help, tuple(group[0].labels)) for name, group in groups}
        self._samples = samples
        self._set()

    def _set(self) -> None:
        for sample in self._samples:
            self._gauges[sample.name].set(sample.value, dict(sample.labels))

    def stay(self, seconds: float) -> None:
        """Set the gauges repeatedly for some seconds, then end."""
        import ray

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._set()
            time.sleep(_REFRESH)
        ray.actor.exit_actor()

    def ready(self) -> None:
        """Return, and so confirm that ``stay`` has begun: calls of a driver begin in order."""
