"""A limit of the time that calls may take, which are interrupted from outside: one thread watches all of them."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

_EVERY = 0.1
"""Seconds between two looks at the calls that run."""


class TimeLimit:
    """Interrupts calls that take longer than they may. A timer for each call would start a thread for each."""

    def __init__(self) -> None:
        self._ends: dict[object, tuple[float, Callable[[], None]]] = {}
        self._begun = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def of(self, seconds: float, interrupt: Callable[[], None]) -> Iterator[None]:
        """Call ``interrupt`` if what follows has not ended after so many seconds, and again until it has."""
        call = object()
        self._ends[call] = (time.monotonic() + seconds, interrupt)
        self._begun.set()
        try:
            yield
        finally:
            del self._ends[call]

    def _watch(self) -> None:
        while True:
            self._begun.wait()
            self._begun.clear()
            while self._ends:
                time.sleep(_EVERY)
                self._check()

    def _check(self) -> None:
        """Interrupt what takes too long; a method of its own, so that the thread holds on to no call."""
        for end, interrupt in list(self._ends.values()):
            if time.monotonic() > end:
                interrupt()


@cache
def time_limit() -> TimeLimit:
    """Return the limit of this process."""
    return TimeLimit()
