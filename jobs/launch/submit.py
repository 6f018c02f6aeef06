"""Submit a build to a Ray cluster, follow its log and return its exit code."""

import hashlib
import itertools
import json
import logging
import re
import shlex
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

from jobs.config.days import DayWord, read_day, resolved
from jobs.ports.kubernetes import RayJobRun
from jobs.runtime.retries import retried
from marts.errors import DataError, Defect, MartsError, ServiceError, Transient, TryLater, UsageError

_log = logging.getLogger("marts.submit")

FAILURES = (2, 65, 69, 70, 75)
"""Exit codes of a failed build that has reported the reason itself."""
_KEPT = 40
"""Last lines of the log that are kept for error messages."""
_LAST = 10.0
"""Seconds to wait for the rest of a log after the job has ended."""
_SOON = 0.5
"""Seconds to wait for lines after a build's closing record."""
_AGAIN = 1.0
"""Seconds before an interrupted log is requested again."""
_LIVE = ("published", "unchanged")
_PASSWORD = re.compile(
    r"://[^/\s:@]*:(?!sealed:)[^/\s@]+@|://\S*[?&](password|passwd|pwd|token|secret)=", re.IGNORECASE
)
_AS_OF = "--as-of"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_RAYS = "Running entrypoint for job"
"""Ray's own line in a job's log: it may follow the lines of a quick job."""
_ENDED = re.compile(r"failed with exit code (-?\d+)")


class Jobs(Protocol):
    """The jobs of a Ray cluster."""

    def submit(
        self, entrypoint: str, name: str, metadata: Mapping[str, str], working_dir: str | None = None
    ) -> None: ...

    def look(self, name: str) -> RayJobRun | None: ...

    def stop(self, name: str) -> bool: ...

    def follow(self, name: str) -> Iterator[str]: ...

    def log(self, name: str) -> str: ...


def day_of(arguments: Sequence[str]) -> str:
    """Return the date in a build's arguments, or "" if they contain none, or a word: the build resolves it.

    Raises UsageError if it is neither a date nor a word.
    """
    _, day = _split(arguments)
    return day.isoformat() if isinstance(day, date) else ""


def _split(arguments: Sequence[str]) -> tuple[tuple[str, ...], date | DayWord | None]:
    """Return the arguments of a build without its day, and the day. Raises UsageError if that is not valid."""
    rest, days, words = list[str](), list[str](), iter(arguments)
    for word in words:
        name, equals, text = word.partition("=")
        if name == _AS_OF:
            days.append(text if equals else next(words, ""))
        else:
            rest.append(word)
    try:
        return tuple(rest), read_day(days[-1]) if days else None
    except ValueError as error:
        raise UsageError(str(error), _AS_OF) from error


def with_day(arguments: Sequence[str], as_of: date, today: date | None = None) -> tuple[str, ...]:
    """Return a build's arguments with a date: their own, that of a word, which counts from ``today``, or ``as_of``."""
    rest, day = _split(arguments)
    if isinstance(day, date):
        return tuple(arguments)
    return (*rest, _AS_OF, (resolved(day, today or as_of) if day else as_of).isoformat())


@dataclass(frozen=True)
class Submission:
    """A build to submit."""

    arguments: tuple[str, ...]
    """Arguments of ``marts build``."""
    today: date
    """Day in the default name, if the arguments contain none."""
    name: str = ""
    """Submission id; derived from the arguments by default, so that the same build has the same id."""
    working_dir: str | None = None

    def check(self) -> None:
        """Raise UsageError for arguments that the cluster would reject later, and for passwords that it would show."""
        day_of(self.arguments)
        refuse_passwords(self.arguments)
        assert self.submission

    @property
    def submission(self) -> str:
        """Submission id of the first build with these arguments. Raises UsageError if Ray would reject it."""
        given = hashlib.blake2b(
            "\0".join([*self.arguments, self.working_dir or ""]).encode(), digest_size=4
        ).hexdigest()
        name = self.name or f"marts-{day_of(self.arguments) or self.today}-{given}"
        if not _NAME.fullmatch(name):
            what = "must have 1 to 63 letters, digits, points, dashes or underscores; letters or digits at both ends"
            raise UsageError(what, f"submission id {name!r}")
        return name

    @property
    def entrypoint(self) -> str:
        """Shell command of the job. It runs the modules of the checkout if one is sent, else the installed package."""
        return shlex.join(["python", "-m", "jobs.build", *self.arguments])


def refuse_passwords(words: Sequence[str]) -> None:
    """Raise UsageError for a password in an address among the arguments: Ray's dashboard would show it."""
    for before, word in zip(("", *words), words, strict=False):
        if _PASSWORD.search(word):
            hint = "seal it (marts secrets set mysql.password), or set it on the cluster's nodes"
            where = before if before.startswith("--") else word.partition("=")[0].partition("://")[0]
            raise UsageError("its password would be visible in Ray's dashboard", where, hint)


def submitted(jobs: Jobs, build: Submission, *, rerun: bool = True) -> tuple[str, bool]:
    """Submit a build, unless the same one is running. Returns its submission id and whether it is new.

    Ray accepts each id once, so a repeated build is ID-2, ID-3, … Without ``rerun`` a build that has succeeded also
    counts as the same: the caller was restarted and does not know. Raises UsageError if the id belongs to another
    running build.
    """
    for name in names(build):
        result = jobs.look(name)
        if result is None:
            break
        same = not result.entrypoint or result.entrypoint == build.entrypoint
        if same and (not result.over or (result.status == "SUCCEEDED" and not rerun)):
            return name, False
        if not same and not result.over and rerun:
            hint = f"set another --id, or wait for it: {result.entrypoint}"
            raise UsageError("another build with this id is running", f"job {name}", hint)
    try:
        day = day_of(build.arguments)
        jobs.submit(build.entrypoint, name, {"as_of": day} if day else {}, build.working_dir)
    except MartsError:
        # Another process was faster, or the answer was lost.
        if not _exists(jobs, name, build):
            raise
        return name, False
    return name, True


def names(build: Submission) -> Iterator[str]:
    """Return the possible submission ids of a build, in the order of use."""
    yield build.submission
    yield from (f"{build.submission}-{number}" for number in itertools.count(2))


def _exists(jobs: Jobs, name: str, build: Submission) -> bool:
    try:
        result = jobs.look(name)
    except MartsError:
        return False
    return result is not None and result.entrypoint == build.entrypoint


class Tail:
    """Follow the log of a job in the background. Resume after a lost connection where it stopped."""

    def __init__(self, jobs: Jobs, name: str, say: Callable[[str], None]) -> None:
        """Begin; each complete line goes to ``say``."""
        self._jobs, self._name, self._say = jobs, name, say
        self._stopped = threading.Event()
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self._printed = 0
        self.closing: dict[str, Any] = {}
        """Closing record of the build: its log line with the event "run"."""
        self._thread = threading.Thread(target=self._run, name=f"log of {name}", daemon=True)
        self._thread.start()

    @property
    def lines(self) -> tuple[str, ...]:
        """The last lines."""
        return tuple(self._lines)

    @property
    def announced(self) -> bool:
        """Whether the build has logged that it failed: then it has also sent a notice."""
        return bool(self.closing.get("exit_code"))

    def finish(self, seconds: float = _LAST) -> None:
        """Wait up to ``seconds`` for the rest of the log; Ray takes seconds to report its end."""
        end = time.monotonic() + seconds
        while self._thread.is_alive() and time.monotonic() < end:
            if self.closing:
                end = min(end, time.monotonic() + _SOON)
            self._thread.join(_SOON / 10)
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._read(self._jobs.follow(self._name))
                if self._is_over():  # the connection may end before the job does
                    self._read_rest()
                    return
            except Transient as error:
                _log.debug("the log was interrupted: %s", error)
            except MartsError as error:
                _log.warning("the log cannot be followed: %s", error)
                return
            self._stopped.wait(_AGAIN)

    def _is_over(self) -> bool:
        result = self._jobs.look(self._name)
        return result is None or result.over

    def _read_rest(self) -> None:
        """Read the whole log if the closing record is missing: following stops at a line that is too long or binary."""
        if not self.closing:
            with suppress(MartsError):
                self._read(iter([self._jobs.log(self._name)]))

    def _read(self, log: Iterable[str]) -> None:
        """Read a log, which always starts at its beginning; skip what was already printed."""
        passed, rest = 0, ""
        for text in log:
            if self._stopped.is_set():
                return
            known = min(self._printed - passed, len(text))
            passed += known
            *whole, rest = (rest + text[known:]).split("\n")
            for line in whole:
                passed += len(line) + 1
                self._printed = passed
                self._hear(line)
        if rest:
            self._printed = passed + len(rest)
            self._hear(rest)

    def _hear(self, line: str) -> None:
        self._lines.append(line)
        announced = read_line(line)
        if announced.get("event") == "run":
            self.closing = announced
        self._say(line)


def read_line(line: str) -> dict[str, Any]:
    """Parse a JSON line of a build's log; return {} for any other line."""
    if not line.startswith("{"):
        return {}
    try:
        announced = json.loads(line)
    except ValueError:
        return {}
    return announced if isinstance(announced, dict) else {}


def wait(jobs: Jobs, name: str, every: float, patience: float) -> RayJobRun:
    """Wait until a job is over. Raises ServiceError if the cluster does not answer for ``patience`` seconds."""
    while True:
        try:
            result = retried(lambda: jobs.look(name), patience)
        except Transient as error:
            hint = "it may still run: the same `marts submit` attaches to it again; `marts status` shows the result"
            raise ServiceError(f"lost contact with job {name}: {error.what}", error.where, hint) from error
        if result is None:
            hint = "the head of the cluster was lost, or the job was deleted; the live marts are untouched"
            raise ServiceError(f"job {name} no longer exists", "Ray", hint)
        if result.over:
            return result
        time.sleep(every)


def ended(run: RayJobRun, closing: Mapping[str, Any], lines: Sequence[str]) -> MartsError | None:
    """Return the error of a job that is over, with the build's own exit code; None if it succeeded."""
    code = exit_code_of(run, closing)
    if code == 0:
        return None
    if run.status == "STOPPED":
        hint = "the live marts are untouched; run again to continue"
        return TryLater(f"job {run.name} was stopped", "Ray", hint)
    announced = closing.get("error") or {}
    if code in (DataError.exit_code, TryLater.exit_code) and closing.get("outcome") in _LIVE:
        what = "the marts are live, but some drops are not in them"
        return of_code(code, what, f"run {closing.get('run_id', '')}", "its report lists them, with the reasons")
    if code in FAILURES and announced:
        return of_code(
            code, str(announced.get("what", "")), str(announced.get("where", "")), str(announced.get("hint", ""))
        )
    return _unexplained(run, code, lines)


def exit_code_of(run: RayJobRun, closing: Mapping[str, Any]) -> int | None:
    """Return the exit code of a driver, or None if it is unknown."""
    if run.status == "SUCCEEDED":
        return 0
    if run.exit_code is not None:
        return run.exit_code
    result = _ENDED.search(run.message)
    if result:
        return int(result[1])
    code = closing.get("exit_code")
    return code if isinstance(code, int) else None


def of_code(code: int | None, what: str, where: str = "", hint: str = "") -> MartsError:
    """Return the error that has an exit code."""
    kinds = {2: UsageError, 65: DataError, 69: ServiceError, 70: Defect, 75: TryLater}
    return kinds.get(code or 0, ServiceError)(what, where, hint)


def _unexplained(run: RayJobRun, code: int | None, lines: Sequence[str]) -> MartsError:
    """Describe a driver that ended without a closing record."""
    last = next((line.strip() for line in reversed(lines) if line.strip() and not line.startswith(_RAYS)), "")
    where = f"job {run.name}"
    if code is None:
        return ServiceError(f"it failed: {_last(run.message) or 'Ray gives no reason'}", where, "read its log")
    if any("No module named" in line and ("jobs" in line or "marts" in line) for line in lines):
        hint = "use an image with Martwright on the cluster's nodes, or send a checkout (--working-dir)"
        return UsageError("Martwright is not installed on the cluster", where, hint)
    if code in (126, 127):
        hint = "check that python is on the PATH of the cluster's nodes"
        return UsageError(f"its command does not start: {last}", where, hint)
    if code < 0 or code > 128:
        hint = "check the memory of the head; the live marts are untouched; run again to continue"
        return ServiceError(f"the driver was killed (exit code {code})", where, hint)
    what = last or _last(run.message) or "no output"
    if code in FAILURES:
        return of_code(code, what, where, "read its log")
    return Defect(f"the driver ended with exit code {code}: {what}", where, "read its log")


def _last(text: str) -> str:
    """Return the last line that is not empty; Ray puts a heading before it."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
