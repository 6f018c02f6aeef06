"""Ask the autoscaler of a cluster for the CPUs that a step needs."""

import logging
import threading
from typing import Self

from jobs.adapters.ray.errors import WITHOUT_WARRANTY

_DEMAND_SECONDS = 4.0
"""An autoscaler looks every 5 seconds."""
_log = logging.getLogger("marts.task")


class Demand:
    """CPUs that a step still needs: the autoscaler of a cluster that we joined is asked for them. 0: it is not asked.

    Ray Data asks for more only when some task has ended, and then for twice as many. What we ask for holds until its
    coordinator asks for all executions, every 20 seconds: so we ask again and again, and what a process that died has
    asked for is soon forgotten.
    """

    def __init__(self, cpus: int) -> None:
        self.cpus, self._asks = cpus, cpus > 0
        self._ended = threading.Event()
        self._asking = threading.Thread(target=self._ask_again, name="demand", daemon=True)

    def __enter__(self) -> Self:
        if self._asks:
            _ask_for(self.cpus)  # here, for no module may be imported by two threads at once
            self._asking.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._asks:
            self._ended.set()
            if error is None:  # else the cluster may be lost, and every question take a minute
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
    except (RayError, OSError, *WITHOUT_WARRANTY) as error:  # a cluster that does not grow builds all the same
        _log.debug("the autoscaler was not asked: %s", error)
