"""Warn about a step in which no task completes."""

import logging
import threading
import time
from typing import Self

from jobs.adapters.ray.errors import WITHOUT_WARRANTY

_SECONDS = 120.0
"""Seconds without a completed task until the first warning; each further one comes after twice the time."""
_log = logging.getLogger("marts.task")


class Waiting:
    """Log a warning while no task of a step completes, with the CPUs of the cluster that are free.

    Ray leaves the CPUs of its running tasks to a driver that is frozen: another build then waits without an error,
    until ``ray.stalled_seconds``.
    """

    def __init__(self, step: str, local: bool = False, seconds: float = _SECONDS) -> None:
        self._step, self._local, self._seconds = step, local, seconds
        self._since, self._ended = time.monotonic(), threading.Event()
        self._watching = threading.Thread(target=self._watch, name="waiting", daemon=True)

    def __enter__(self) -> Self:
        self._watching.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def completed(self) -> None:
        """Record that a task has completed."""
        self._since = time.monotonic()

    def _watch(self) -> None:
        since, limit = self._since, self._seconds
        while not self._ended.wait(max(since + limit - time.monotonic(), 0.01)):
            if self._since != since:
                since, limit = self._since, self._seconds
            elif time.monotonic() - since >= limit:
                self._warn(time.monotonic() - since)
                limit *= 2

    def _warn(self, seconds: float) -> None:
        try:
            import ray
            from ray.exceptions import RayError

            free, total = ray.available_resources().get("CPU", 0), ray.cluster_resources().get("CPU", 0)
        except (RayError, OSError, *WITHOUT_WARRANTY) as error:  # the step itself reports a lost cluster
            _log.debug("the resources of the cluster are not known: %s", error)
            return
        if total < 1:
            cpus = "the cluster has no worker yet"
        elif free >= 1 or self._local:
            cpus = f"{free:.0f} of {total:.0f} CPUs of the cluster are free"
        else:
            cpus = f"all {total:.0f} CPUs of the cluster are in use, by its tasks or by other jobs: `ray list jobs`"
        _log.warning("%s: no task has completed for %.0f s; %s", self._step, seconds, cpus)
