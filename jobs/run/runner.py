"""Run steps of a few tasks in this process while no cluster is up: starting one takes longer than the tasks."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from jobs.adapters.ray.cluster import Cluster, cluster_address
from jobs.config.settings import RaySettings
from jobs.runtime.logs import context, within
from marts.errors import Defect, MartsError

_THREADS = 4
"""Maximum number of useful threads: more threads of one interpreter wait for each other."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class LocalFirstRunner:
    """Run the tasks of a step in this process or on a cluster."""

    def __init__(self, cluster: Cluster, settings: RaySettings) -> None:
        self._cluster = cluster
        self._cpus = settings.cpus or os.cpu_count() or 1
        local = cluster_address(settings) == "local" and not settings.dashboard
        self._few = settings.few_tasks * min(self._cpus, _THREADS) if local else 0

    def needs_cluster(self, tasks: float) -> bool:
        """Return whether a step with the work of ``tasks`` full tasks is for a cluster."""
        return tasks > self._few or self._cluster.is_up

    def run(
        self, step: str, function: Callable[[Item], Result], items: Sequence[Item], at_once: int | None = None
    ) -> Iterator[tuple[int, Result]]:
        """Run a step's items; yield each result with its item's index as it completes. Raise the first MartsError.

        A local cluster is used if it is up: ``needs_cluster`` decides whether to start it. However the iteration ends,
        it waits for running tasks.
        """
        most = min(at_once or len(items), len(items))
        if self._cluster.is_up or not self._few:
            yield from self._cluster.run(step, function, items, at_once)
            return
        names = context()

        def work(index: int) -> Result:
            with within(**names, task=str(index)):
                return function(items[index])

        pool = ThreadPoolExecutor(min(most, self._cpus) or 1, "task")
        try:
            futures = {pool.submit(work, index): index for index in range(len(items))}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except MartsError:
            raise
        except Exception as error:
            what = f"a task of {step} failed: {type(error).__name__}: {error}"
            raise Defect(what, "marts", "please report it") from error
        finally:
            pool.shutdown(cancel_futures=True)
