"""What is tried again: work that fails with a Transient error, with full jitter, until a deadline."""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from marts.errors import ServiceError, Transient

Result = TypeVar("Result")

_FIRST, _MOST, _OVER = 0.2, 10.0, 0.05
"""Seconds: the bound of the first wait, which doubles; that of any; and how long after the end the last try is."""
_log = logging.getLogger("marts.retries")


def _tell(details: RetryDetails) -> None:
    _log.warning("%s; trying again in %.1f s", details.caused_by, details.wait_for)


set_on_retry_hooks([_tell])


def retried(work: Callable[[], Result], deadline: float) -> Result:
    """Do some work that may be repeated; repeat it after each Transient error until ``deadline`` seconds have passed.

    Each wait is a random part of a bound that doubles: "full jitter" of "Exponential Backoff And Jitter", AWS
    Architecture Blog, 2015. Raises the last error, which says how often it was tried.
    """
    backoff, started = _Backoff(time.monotonic() + deadline), time.monotonic()
    try:
        for attempt in stamina.retry_context(on=backoff, attempts=None, timeout=max(deadline, _OVER)):
            with attempt:
                return work()
    except Transient as error:
        if backoff.tries < 2:
            return work()  # the time may have passed while we stood still: once more, whatever the clock says
        tried = f"tried {backoff.tries} times in {time.monotonic() - started:.0f} s"
        raise type(error)(f"{error.what} ({tried})", error.where, error.hint) from error
    raise AssertionError("unreachable")


def in_time(work: Callable[[], Result], seconds: float, where: str, late: type[ServiceError] = ServiceError) -> Result:
    """Do some work that a server could draw out for ever. Raises ``late`` if it takes longer.

    It goes on in the background then, and ends with the process at the latest.
    """
    results: list[Result | BaseException] = []

    def do() -> None:
        try:
            results.append(work())
        except BaseException as error:
            results.append(error)
            if not isinstance(error, Exception):
                raise

    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    thread.join(seconds)
    if not results:
        raise late(f"timed out: no whole answer came in {seconds:.0f} s", where, "is it overloaded?")
    if isinstance(results[0], BaseException):
        raise results[0]
    return results[0]


class _Backoff:
    """Says whether to try again, and after how many seconds; the last try is at the end, not long after it."""

    def __init__(self, end: float) -> None:
        self.tries, self._end = 0, end

    def __call__(self, error: Exception) -> bool | float:
        if not isinstance(error, Transient):
            return False
        self.tries += 1
        wait = random.uniform(0, min(_MOST, _FIRST * 2 ** min(self.tries, 10)))  # noqa: S311 - no secret
        return min(wait, max(self._end - time.monotonic(), 0) + _OVER)
