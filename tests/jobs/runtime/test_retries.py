"""Work that fails for a while is repeated; all else is reported at once."""

import logging

import pytest

from jobs.runtime.retries import retried
from marts.errors import Busy, ServiceError, Transient


class Fails:
    """Fails some times, then gives its number of calls."""

    def __init__(self, times: int, error: Exception) -> None:
        self.calls, self._times, self._error = 0, times, error

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self._times:
            raise self._error
        return self.calls


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waited.append)
    return waited


def test_what_fails_for_a_while_is_repeated(waits: list[float]) -> None:
    assert retried(Fails(3, Transient("slow")), 60) == 4
    assert len(waits) == 3


def test_a_permanent_error_is_tried_once(waits: list[float]) -> None:
    work = Fails(1, ServiceError("denied"))
    with pytest.raises(ServiceError, match="denied"):
        retried(work, 60)
    assert (work.calls, waits) == (1, [])


def test_waits_are_random_parts_of_a_bound_that_doubles(waits: list[float]) -> None:
    runs = []
    for _ in range(60):
        retried(Fails(8, Transient("slow")), 600)
        runs.append(waits[-8:])
    bounds = [min(10.0, 0.2 * 2**n) for n in range(1, 9)]
    for number, bound in enumerate(bounds):
        seen = [run[number] for run in runs]
        assert 0 <= min(seen) < bound / 4
        assert bound * 3 / 4 < max(seen) <= bound


def test_the_deadline_ends_it_and_the_error_reports_how_often_it_was_tried() -> None:
    work = Fails(1000, Busy("held", "here", "wait"))
    with pytest.raises(Busy, match=r"here: held \(tried \d+ times in \d s\)") as caught:
        retried(work, 1)
    assert work.calls > 1
    assert (caught.value.hint, caught.value.exit_code) == ("wait", 75)


def test_who_stood_still_past_the_deadline_tries_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process that was frozen, or a laptop that slept, in the middle of a call."""
    clock = [0.0]
    monkeypatch.setattr("tenacity.time.monotonic", lambda: clock[0])
    work = Fails(1, Transient("lost"))

    def sleeps() -> int:
        clock[0] += 1000
        return work()

    assert retried(sleeps, 60) == 2


def test_each_wait_is_logged(waits: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        retried(Fails(2, Transient("it is slow", "s3://x")), 60)
    assert [record.message.partition("; ")[0] for record in caplog.records] == ["s3://x: it is slow"] * 2


def test_a_long_outage_is_logged_twice_and_then_every_20_seconds(
    waits: list[float], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("random.uniform", lambda _, most: most)  # the longest waits: 0.4, 0.8, 1.6, … up to 10 s
    with caplog.at_level(logging.DEBUG, "marts.retries"):
        retried(Fails(14, Transient("refused")), 600)
    levels = [record.levelname for record in caplog.records if record.name == "marts.retries"]
    assert len(levels) == len(waits) == 14
    assert levels[:6] == ["WARNING", "WARNING", "DEBUG", "DEBUG", "DEBUG", "WARNING"]
    assert levels.count("WARNING") == 2 + int(sum(waits) / 20)
