"""Tasks on a real Ray cluster: results, errors, and workers that die."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from jobs.adapters.ray.cluster import ASK, LOOK, Cluster, cluster_address
from jobs.adapters.ray.waiting import Waiting
from jobs.config.settings import RaySettings
from marts.errors import DataError, Defect, ServiceError

pytestmark = pytest.mark.usefixtures("ray_cluster")


def double(number: int) -> int:
    return number * 2


def meet(places: tuple[Path, Path]) -> bool:
    """Return whether the other task runs while this one does."""
    own, other = places
    own.touch()
    end = time.monotonic() + 30
    while not other.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return other.exists()


def hold(until: Path) -> None:
    """Keep the CPUs of the task until a file exists."""
    end = time.monotonic() + 60
    while not until.exists() and time.monotonic() < end:
        time.sleep(0.05)


def refuse(number: int) -> int:
    if number == 3:
        raise DataError("three is not allowed", "here", "take four")
    return number


def stumble(number: int) -> int:
    return 1 // (number - 2)


def die_once(path: Path) -> str:
    """Kill the own process the first time: as the kernel does when memory runs out."""
    if not path.exists():
        path.write_text("died")
        os.kill(os.getpid(), signal.SIGKILL)
    return path.read_text()


def test_each_item_is_one_task_and_gives_its_result() -> None:
    results = dict(Cluster(RaySettings()).run("Double", double, list(range(20)), at_once=3))
    assert results == {number: number * 2 for number in range(20)}


def test_ray_data_still_has_the_pause_that_we_shorten() -> None:
    """There is no public setting: a newer Ray may name it otherwise, and would be slower without a word."""
    from ray.data._internal.execution import streaming_executor_state

    list(Cluster(RaySettings()).run("Double", double, [1]))
    assert getattr(streaming_executor_state, LOOK) < 0.1


def test_tasks_run_side_by_side_from_the_start_of_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Data believes until it asks again that the cluster has nothing, and runs one task alone meanwhile."""
    from ray.data._internal.execution.resource_manager import ResourceManager

    monkeypatch.setattr(ResourceManager, ASK, 600)  # a task would be alone for as long as the other waits
    first, second = tmp_path / "first", tmp_path / "second"
    met = dict(Cluster(RaySettings()).run("Both", meet, [(first, second), (second, first)]))
    assert met == {0: True, 1: True}


def test_nothing_to_do_starts_nothing() -> None:
    assert list(Cluster(RaySettings(address="ray://nowhere:1")).run("Double", double, [])) == []


def test_an_error_of_the_product_comes_back_as_it_was_raised() -> None:
    with pytest.raises(DataError, match="three is not allowed") as caught:
        list(Cluster(RaySettings()).run("Refuse", refuse, [1, 2, 3, 4]))
    assert (caught.value.where, caught.value.hint) == ("here", "take four")


def test_any_other_error_is_a_defect_that_names_step_and_cause() -> None:
    with pytest.raises(Defect, match=r"a task of Stumble failed: .*division") as caught:
        list(Cluster(RaySettings()).run("Stumble", stumble, [1, 2]))
    assert caught.value.exit_code == 70


def sleep_on(seconds: int) -> int:
    time.sleep(seconds)
    return seconds


def test_a_step_of_which_no_task_ends_is_given_up() -> None:
    started = time.monotonic()
    with pytest.raises(ServiceError, match=r"Ray lost the tasks of Sleep.* no progress") as caught:
        list(Cluster(RaySettings(stalled_seconds=2)).run("Sleep", sleep_on, [40]))
    assert time.monotonic() - started < 35
    assert caught.value.hint


def test_the_task_of_a_killed_worker_runs_again(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}" for number in range(3)]
    assert dict(Cluster(RaySettings()).run("DieOnce", die_once, paths)) == dict.fromkeys(range(3), "died")


def test_a_cluster_is_joined_only_if_asked_for_or_started_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "somewhere:6379")
    assert cluster_address(RaySettings()) == "local"
    assert cluster_address(RaySettings(address="ray://head:10001")) == "ray://head:10001"
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert cluster_address(RaySettings()) == "auto"
    assert cluster_address(RaySettings(address="local")) == "local"


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Warnings about waiting: earlier tests may have taken the log from pytest."""
    messages: list[str] = []
    monkeypatch.setattr("jobs.adapters.ray.waiting._log.warning", lambda text, *values: messages.append(text % values))
    return messages


def test_a_step_that_waits_for_cpus_is_logged_with_those_that_are_in_use(
    monkeypatch: pytest.MonkeyPatch, warnings: list[str], tmp_path: Path
) -> None:
    import ray

    monkeypatch.setattr("jobs.adapters.ray.cluster.Waiting", lambda step, _: Waiting(step, seconds=0.5))
    cluster, release = Cluster(RaySettings()), tmp_path / "release"
    cluster.start()
    total = int(ray.cluster_resources()["CPU"])
    holders = [ray.remote(hold).remote(release) for _ in range(total)]
    end = time.monotonic() + 60
    while ray.available_resources().get("CPU", 0) and time.monotonic() < end:
        time.sleep(0.05)
    assert not ray.available_resources().get("CPU", 0)
    threading.Timer(3, release.touch).start()
    assert dict(cluster.run("Double", double, [1, 2])) == {0: 2, 1: 4}
    ray.get(holders)
    assert "Double: no task has completed for" in warnings[0]
    assert f"all {total} CPUs of the cluster are in use, by its tasks or by other jobs: `ray list jobs`" in warnings[0]


def test_completed_tasks_put_off_the_warning(warnings: list[str]) -> None:
    with Waiting("Load", seconds=2) as waiting:
        for _ in range(15):
            time.sleep(0.2)
            waiting.completed()
    assert warnings == []
