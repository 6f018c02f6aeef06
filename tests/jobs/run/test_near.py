"""Steps of a few tasks run in this process; errors and messages are as on a cluster."""

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from jobs.adapters.ray.cluster import Cluster
from jobs.config.settings import RaySettings
from jobs.run.runner import LocalFirstRunner
from jobs.runtime.logs import context, within
from marts.errors import DataError, Defect


class NoCluster(Cluster):
    """A cluster that notes what it is asked to run."""

    def __init__(self, up: bool = False) -> None:
        super().__init__(RaySettings())
        self.up, self.asked = up, 0

    @property
    def is_up(self) -> bool:
        return self.up

    def run(self, step: str, function: Any, items: Sequence[Any], at_once: int | None = None) -> Iterator[Any]:
        self.asked += len(items)
        yield from enumerate(items)


def near(cluster: Cluster | None = None, **settings: Any) -> LocalFirstRunner:
    return LocalFirstRunner(cluster or NoCluster(), RaySettings(address="local", cpus=2, **settings))


def test_a_few_tasks_run_here_two_at_once() -> None:
    busy, most = [], []

    def work(item: int) -> int:
        busy.append(item)
        most.append(len(busy))
        time.sleep(0.02)
        busy.remove(item)
        return item * 2

    assert dict(near().run("Double", work, [1, 2, 3, 4])) == {0: 2, 1: 4, 2: 6, 3: 8}
    assert max(most) == 2
    most.clear()
    list(near().run("Double", work, [1, 2, 3, 4], at_once=1))
    assert max(most) == 1
    assert list(near().run("Nothing", work, [])) == []


@pytest.mark.parametrize(
    ("settings", "up", "tasks", "wanted"),
    [
        ({}, False, 8, False),
        ({}, False, 9, True),
        ({}, True, 1, True),
        ({"cpus": 16}, False, 16, False),
        ({"cpus": 16}, False, 17, True),
        ({"few_tasks": 0}, False, 1, True),
        ({"dashboard": True}, False, 1, True),
        ({"address": "ray://head:10001"}, False, 1, True),
    ],
)
def test_a_cluster_is_started_for_many_tasks_and_used_if_it_is_there(
    settings: dict[str, Any], up: bool, tasks: int, wanted: bool
) -> None:
    cluster = NoCluster(up)
    runner = LocalFirstRunner(cluster, RaySettings(**{"address": "local", "cpus": 2, **settings}))
    assert runner.needs_cluster(tasks) is wanted
    cluster.up = wanted
    assert len(list(runner.run("Same", lambda item: item, range(tasks)))) == tasks
    assert cluster.asked == (tasks if wanted else 0)


def test_many_tasks_of_which_few_run_at_once_need_no_cluster() -> None:
    cluster = NoCluster()
    assert len(list(near(cluster).run("Load", lambda item: item, range(50), at_once=2))) == 50
    assert cluster.asked == 0


def test_the_first_error_ends_the_step_and_nothing_more_begins() -> None:
    begun = []

    def work(item: int) -> None:
        begun.append(item)
        if item:
            time.sleep(0.1)
        raise DataError("no", "here", "do this")

    with pytest.raises(DataError, match="no"):
        list(near().run("Refuse", work, range(8)))
    assert len(begun) < 8
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("task_")]


def test_a_defect_in_a_task_names_the_step() -> None:
    with pytest.raises(Defect, match="a task of Stumble failed: ZeroDivisionError: ") as caught:
        list(near().run("Stumble", lambda item: 1 // item, [0]))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_task_reports_its_run_and_step() -> None:
    with within(run_id="r1", step="scan"):
        ((_, fields),) = near().run("Say", lambda _: dict(context()), [0])
    assert fields == {"run_id": "r1", "step": "scan", "task": "0"}


def test_who_stops_listening_waits_for_the_tasks_at_hand_and_begins_no_more() -> None:
    begun, done = [], []

    def work(item: int) -> None:
        begun.append(item)
        time.sleep(0.1 if item else 0)
        done.append(item)

    results = near().run("Wait", work, range(8))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(begun) < 8
    assert sorted(done) == sorted(begun)
