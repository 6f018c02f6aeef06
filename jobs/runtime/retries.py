"""Retry work that fails with a Transient error, with full jitter, until a deadline."""

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
"""Seconds: bound of the first wait, which doubles; bound of any wait; delay of the last attempt after the deadline."""
_FIRST_LINES, _QUIET = 2, 20.0
"""Retries that are always logged; seconds of waiting between two log lines after them."""
_log = logging.getLogger("marts.retries")


def _report(details: RetryDetails) -> None:
    """Log the first two retries, then one every ``_QUIET`` seconds of waiting, not counting the attempts."""
    before, after = details.waited_so_far, details.waited_so_far + details.wait_for
    due = details.retry_num <= _FIRST_LINES or before // _QUIET != after // _QUIET
    text = "%s; retrying in %.1f s (attempt %d failed)"
    _log.log(logging.WARNING if due else logging.DEBUG, text, details.caused_by, details.wait_for, details.retry_num)


set_on_retry_hooks([_report])


def retried(work: Callable[[], Result], deadline: float) -> Result:
    """Do repeatable work. Retry it after each Transient error until ``deadline`` seconds have passed.

    Each wait is a random fraction of a bound that doubles: "full jitter" of "Exponential Backoff And Jitter", AWS
    Architecture Blog, 2015. Raises the last error, with the number of attempts.
    """
    backoff, started = _Backoff(time.monotonic() + deadline), time.monotonic()
    try:
        for attempt in stamina.retry_context(on=backoff, attempts=None, timeout=max(deadline, _OVER)):
            with attempt:
                return work()
    except Transient as error:
        if backoff.tries < 2:
            return work()  # the process may have been frozen past the deadline: retry once regardless
        tried = f"tried {backoff.tries} times in {time.monotonic() - started:.0f} s"
        raise type(error)(f"{error.what} ({tried})", error.where, error.hint) from error
    raise AssertionError("unreachable")


def in_time(work: Callable[[], Result], seconds: float, where: str, late: type[ServiceError] = ServiceError) -> Result:
    """Do work that a server could delay forever. Raises ``late`` if it takes longer than ``seconds``.

    The work then continues in a background thread that ends with the process.
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
        raise late(f"timed out: no complete answer in {seconds:.0f} s", where, "check whether it is overloaded")
    if isinstance(results[0], BaseException):
        raise results[0]
    return results[0]


class _Backoff:
    """Decide whether to retry and after how many seconds; the last attempt is just after the deadline."""

    def __init__(self, end: float) -> None:
        self.tries, self._end = 0, end

    def __call__(self, error: Exception) -> bool | float:
        if not isinstance(error, Transient):
            return False
        self.tries += 1
        wait = random.uniform(0, min(_MOST, _FIRST * 2 ** min(self.tries, 10)))  # noqa: S311 - no secret
        return min(wait, max(self._end - time.monotonic(), 0) + _OVER)
