"""Request the CPUs that a step needs from the autoscaler of a cluster."""

import logging
import threading
from typing import Self

from jobs.adapters.ray.errors import WITHOUT_WARRANTY

_DEMAND_SECONDS = 4.0
"""Seconds between two requests: an autoscaler polls every 5 seconds."""
_log = logging.getLogger("marts.task")


class Demand:
    """Request CPUs that a step still needs from the autoscaler of a joined cluster; with 0, request nothing.

    Ray Data requests more only after a task has ended, and then twice as many. A request here holds until Ray Data's
    coordinator sends its own for all executions, every 20 seconds. It is therefore repeated; that of a dead process
    expires soon.
    """

    def __init__(self, cpus: int) -> None:
        self.cpus, self._asks = cpus, cpus > 0
        self._ended = threading.Event()
        self._asking = threading.Thread(target=self._ask_again, name="demand", daemon=True)

    def __enter__(self) -> Self:
        if self._asks:
            _ask_for(self.cpus)  # first here: two threads must not import a module at the same time
            self._asking.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._asks:
            self._ended.set()
            if error is None:  # else the cluster may be lost, and each request would take a minute
                self._asking.join()
                _ask_for(0)

    def _ask_again(self) -> None:
        while not self._ended.wait(_DEMAND_SECONDS):
            _ask_for(self.cpus)


def _ask_for(cpus: int) -> None:
    from ray.exceptions import RayError

    try:
        from ray.autoscaler.sdk import request_resources

        request_resources(num_cpus=cpus)
    except (RayError, OSError, *WITHOUT_WARRANTY) as error:  # the build also runs on a cluster that does not grow
        _log.debug("the request to the autoscaler failed: %s", error)
