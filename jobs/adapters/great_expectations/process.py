"""The process in which Great Expectations is imported and judges, beside all else that a build does.

It takes seconds to import, and threads of one interpreter wait for each other.
"""

import gc
import multiprocessing
import signal
import traceback
from collections.abc import Callable
from functools import cache
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from jobs.adapters.great_expectations.deferred import deferred
from marts.errors import Defect, MartsError, ServiceError

_TRIES = 2
"""Processes that are started for one call: the first may be killed, for example for memory."""


class Judge:
    """Calls functions of `checkpoint` in a process of their own, which ends with this one."""

    def __init__(self) -> None:
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None

    def begin(self) -> None:
        """Start the process, which imports Great Expectations, unless it runs."""
        self._running()

    def call(self, function: str, *given: Any, **named: Any) -> Any:
        """Return the result of a function. Raise what it raises, or ServiceError if the process is killed."""
        for _ in range(_TRIES):
            pipe = self._running()
            try:
                pipe.send((function, given, named))
                result = pipe.recv()
            except (EOFError, OSError):
                code = self.end()
                continue
            except BaseException:  # the answer of this call must not be taken for that of the next
                self.end()
                raise
            if isinstance(result, MartsError):
                raise result
            return result
        hint = "the live marts are untouched; check the memory of the machine (about 400 MB are needed), then run again"
        raise ServiceError(f"the process of Great Expectations ended with {code}", "judge", hint)

    def _running(self) -> Connection:
        if self._pipe is None:
            context = multiprocessing.get_context("spawn")
            pipe, other = context.Pipe()
            process = context.Process(target=serve, args=(other,), name="judge", daemon=True)
            # Ctrl-C is for this process, which ends the other one. Starting the tracker would unblock it.
            resource_tracker.ensure_running()
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            other.close()
            self._pipe, self._process = pipe, process  # once it runs: an answer of none would be awaited for ever
        return self._pipe

    def end(self) -> int | None:
        """End the process, if it runs. Return its exit code."""
        pipe, process, self._pipe, self._process = self._pipe, self._process, None, None
        if pipe:
            pipe.close()
        if process:
            process.terminate()
            process.join()
        return process.exitcode if process else None


@cache
def judge() -> Judge:
    """Return the judge of this process."""
    return Judge()


def serve(pipe: Connection) -> None:
    """Answer calls until the other end of the pipe is closed."""
    # tqdm makes a semaphore, which only this method removes at once: the process may be terminated.
    multiprocessing.set_start_method("fork", force=True)
    gc.disable()  # looking for garbage among what is imported, and stays, takes a sixth of the time
    with deferred("scipy", "altair", "google", "grpc", "boto3", "botocore"):
        from jobs.adapters.great_expectations import checkpoint
    gc.freeze()
    gc.enable()

    while True:
        try:
            function, given, named = pipe.recv()
        except EOFError:
            return
        try:
            result = _called(getattr(checkpoint, function), given, named)
        except MartsError as error:
            result = error
        pipe.send(result)


def _called(function: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Call a function. Raise Defect for what is no MartsError: its classes may be unknown in the other process."""
    try:
        return function(*given, **named)
    except MartsError:
        raise
    except Exception as error:
        hint = f"please report it\n{traceback.format_exc()}"
        raise Defect(f"{type(error).__name__}: {error}", "Great Expectations", hint) from error
