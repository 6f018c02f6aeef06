"""Calls that take too long are interrupted, others are not."""

import threading
import weakref

import pytest

from jobs.runtime.limits import TimeLimit, time_limit


def test_a_call_that_takes_too_long_is_interrupted_and_those_beside_it_are_not() -> None:
    limit, long, short = TimeLimit(), threading.Event(), threading.Event()
    with limit.of(3600, short.set), limit.of(0.05, long.set):
        assert long.wait(30)
    assert not short.is_set()


def test_a_limit_watches_again_after_a_pause() -> None:
    limit = TimeLimit()
    for _ in range(3):
        interrupted = threading.Event()
        with limit.of(0.01, interrupted.set):
            assert interrupted.wait(30)
        assert limit._ends == {}


def test_a_call_that_fails_is_watched_no_more() -> None:
    limit = time_limit()
    with pytest.raises(ValueError, match="it fails"), limit.of(0.01, lambda: None):
        raise ValueError("it fails")
    assert limit is time_limit()
    assert limit._ends == {}


def test_nothing_of_a_call_is_kept_after_its_end() -> None:
    """A cursor that the watching thread holds would keep its database in memory."""

    class Cursor:
        def __init__(self) -> None:
            self.interrupted = threading.Event()

        def interrupt(self) -> None:
            self.interrupted.set()

    limit, cursor = TimeLimit(), Cursor()
    with limit.of(0.01, cursor.interrupt):
        assert cursor.interrupted.wait(30)
    ended, known = cursor.interrupted, weakref.ref(cursor)
    del cursor
    other = threading.Event()
    with limit.of(0.01, other.set):  # the thread has looked again
        assert other.wait(30)
    assert ended.is_set()
    assert known() is None
