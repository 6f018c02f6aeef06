"""Run steps of a few tasks in this process, as long as no cluster is up: to start one takes longer than they do."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

from jobs.adapters.cluster import Cluster, cluster_address
from jobs.logs import context, within
from jobs.settings import RaySettings
from marts.errors import Defect, MartsError

Item = TypeVar("Item")
Result = TypeVar("Result")

_PATIENCE = 10.0
"""Seconds that a build which is told to stop waits for tasks at hand."""


class Near:
    """Runs the tasks of a step here, or on a cluster."""

    def __init__(self, cluster: Cluster, settings: RaySettings) -> None:
        self._cluster = cluster
        self._cpus = settings.cpus or os.cpu_count() or 1
        local = cluster_address(settings) == "local" and not settings.dashboard
        self._few = settings.few_tasks * self._cpus if local else 0

    def needs_cluster(self, tasks: int) -> bool:
        """Tell whether a step of so many tasks is for a cluster."""
        return tasks > self._few or self._cluster.is_up

    def run(
        self, step: str, function: Callable[[Item], Result], items: Sequence[Item], at_once: int | None = None
    ) -> Iterator[tuple[int, Result]]:
        """Run a step's items; gives each result, with its item's index, as it comes. Raises the first MartsError."""
        at_once = min(at_once or len(items), len(items))
        if self.needs_cluster(at_once):
            yield from self._cluster.run(step, function, items, at_once)
        elif items:
            with _answers(function, items, min(at_once, self._cpus)) as answers:
                for _ in items:
                    index, result, error = answers.get()
                    if isinstance(error, MartsError):
                        raise error
                    if error:
                        what = f"a task of {step} failed: {type(error).__name__}: {error}"
                        raise Defect(what, "marts", "please report it") from error
                    yield index, result


@contextmanager
def _answers(
    function: Callable[[Any], Any], items: Sequence[Any], at_once: int
) -> Iterator["SimpleQueue[tuple[int, Any, Exception | None]]"]:
    """Work on items by some threads; gives where their results come. At the end nothing more is begun."""
    answers: SimpleQueue[tuple[int, Any, Exception | None]] = SimpleQueue()
    left, taking, over, said = iter(enumerate(items)), threading.Lock(), threading.Event(), context()

    def work() -> None:
        while not over.is_set():
            with taking:
                index, item = next(left, (-1, None))
            if index < 0:
                return
            try:
                with within(**said, task=str(index)):
                    answers.put((index, function(item), None))
            except Exception as error:  # noqa: BLE001 - it goes to whoever waits for it
                answers.put((index, None, error))

    threads = [threading.Thread(target=work, name=f"task {n}", daemon=True) for n in range(at_once)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        over.set()
        end = time.monotonic() + _PATIENCE
        for thread in threads:
            thread.join(max(end - time.monotonic(), 0))
