"""Calls that send requests run at the same time, and end together."""

import threading
import time

import pytest

from jobs.ports.store import at_once


def test_results_are_in_order_and_calls_within_calls_do_not_wait_for_each_other() -> None:
    def outer(number: int) -> list[int]:
        return at_once(lambda inner: 100 * number + inner, range(40), 2)

    assert at_once(outer, range(40), 2) == [[100 * number + inner for inner in range(40)] for number in range(40)]


def test_as_many_calls_run_as_are_allowed() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def call(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001)
        with lock:
            running -= 1

    at_once(call, range(60), 3)
    assert most == 3


def test_the_first_exception_is_raised_when_the_calls_that_run_have_ended() -> None:
    ended = []

    def call(number: int) -> None:
        if number == 1:
            raise ValueError("the second")
        time.sleep(0.05)
        ended.append(number)

    with pytest.raises(ValueError, match="the second"):
        at_once(call, range(100), 4)
    before = list(ended)
    assert 0 in before
    assert len(before) < 20, "the calls that had not begun are cancelled"
    time.sleep(0.1)
    assert ended == before
    assert at_once(str, (1, 2), 4) == ["1", "2"]
