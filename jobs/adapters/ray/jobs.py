"""Ray's Jobs API: submit, query, read the log, stop. All errors are raised as MartsError."""

import asyncio
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any, TypeVar

from jobs.ports.kubernetes import RayJobRun
from jobs.runtime.retries import in_time
from jobs.runtime.scrub import scrub
from marts.errors import MartsError, ServiceError, Transient, UsageError

Result = TypeVar("Result")

_ANSWER = 30.0
"""Timeout of a request to the dashboard, in seconds: Ray's client would wait forever."""
_UPLOAD = 600.0
"""Timeout of a submission, in seconds: it uploads the files of a working_dir."""
_ERRNO = re.compile(r"\[Errno -?\d+\] ([^'\")\]]+)")
_ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Variables that override the address argument of Ray's client. Here the argument takes precedence."""


class RayJobs:
    """The jobs of one Ray cluster."""

    def __init__(self, address: str | None) -> None:
        """Use a dashboard's address; by default RAY_API_SERVER_ADDRESS, RAY_ADDRESS, or port 8265 of this machine.

        Raises Transient if there is no answer, ServiceError if access is denied.
        """
        self._where = address or next((os.environ[name] for name in _ADDRESS_VARIABLES if os.environ.get(name)), "Ray")
        address = f"http://{address}" if address and "://" not in address else address
        self._client: Any = self._asked(lambda: _client(address))

    def submit(self, entrypoint: str, name: str, metadata: Mapping[str, str], working_dir: str | None = None) -> None:
        """Submit a job under a name. Raises UsageError if it is rejected, such as for a name in use."""
        environment = {"working_dir": working_dir} if working_dir else None
        given = {"entrypoint": entrypoint, "submission_id": name, "metadata": dict(metadata)}
        with _translated(self._where):
            in_time(lambda: self._client.submit_job(**given, runtime_env=environment), _UPLOAD, self._where)

    def look(self, name: str) -> RayJobRun | None:
        """Return the state of a job, or None if it does not exist."""
        result = self._asked(lambda: self._look_up(name))
        if result is None:
            return None
        end = result.status.value, result.driver_exit_code, result.message or ""
        return RayJobRun(name, *end, entrypoint=result.entrypoint or "")

    def stop(self, name: str) -> bool:
        """Request that a job stops. Return whether it was running."""
        return bool(self._asked(lambda: self._client.stop_job(name)))

    def log(self, name: str) -> str:
        """Return the log of a job."""
        return str(self._asked(lambda: self._client.get_job_logs(name)))

    def follow(self, name: str) -> Iterator[str]:
        """Stream the log of a job from its beginning until the job ends.

        Raises Transient if the connection is lost.
        """
        loop = asyncio.new_event_loop()
        try:
            lines = self._client.tail_job_logs(name)
            while True:
                with _translated(self._where):
                    text = loop.run_until_complete(anext(lines, None))
                if text is None:
                    return
                yield text
        finally:
            loop.run_until_complete(_closed(lines))
            loop.close()

    def _look_up(self, name: str) -> Any:
        try:
            return self._client.get_job_info(name)
        except RuntimeError as error:
            if "status code 404" in str(error):
                return None
            raise

    def _asked(self, ask: Callable[[], Result]) -> Result:
        """Send a request that may be repeated."""
        with _translated(self._where):
            return in_time(ask, _ANSWER, self._where, Transient)


async def _closed(lines: Any) -> None:
    async with aclosing(lines):
        pass


def _client(address: str | None) -> Any:
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)
    hidden = {name: os.environ.pop(name) for name in _ADDRESS_VARIABLES if address and name in os.environ}
    try:
        return JobSubmissionClient(address)
    finally:
        os.environ.update(hidden)


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """Translate the client's errors into MartsError with hints."""
    import aiohttp
    import requests
    from ray.exceptions import AuthenticationError

    try:
        yield
    except MartsError:
        raise
    except (AuthenticationError, aiohttp.WSServerHandshakeError) as error:
        if isinstance(error, aiohttp.WSServerHandshakeError) and error.status not in (401, 403):
            raise Transient(f"the log cannot be followed: {scrub(str(error))}", where) from error
        hint = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file with the cluster's token"
        raise ServiceError("the Ray cluster denies access", where, hint) from error
    except (ConnectionError, requests.ConnectionError, requests.Timeout, aiohttp.ClientError, TimeoutError) as error:
        hint = "check that this is the address of a Ray dashboard, http://host:8265, and reachable from here"
        raise Transient(f"no Ray dashboard answers: {_line(error)}", where, hint) from error
    except ValueError as error:
        raise UsageError(f"Ray cannot parse it: {_line(error)}", where) from error
    except (RuntimeError, requests.RequestException) as error:
        text = scrub(str(error))
        if "status code 5" in text or "WebSocket" in text:
            raise Transient(f"the Ray dashboard fails: {_line(error)}", where) from error
        raise UsageError(f"the Ray dashboard rejects it: {_line(error)}", where) from error


def _line(error: BaseException) -> str:
    """Return why there is no connection, else the last line of an error: Ray sends whole tracebacks."""
    refused = _ERRNO.search(str(error))
    if refused:
        return refused[1]
    lines = [line.strip() for line in scrub(str(error)).replace("\\n", "\n").splitlines() if line.strip(' ."')]
    return (lines or [type(error).__name__])[-1][:500]
