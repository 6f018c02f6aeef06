"""Log lines: for people on a terminal, JSON elsewhere, each with its run, step and drop; in Ray's workers, too."""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

from jobs.runtime.scrub import scrub, scrub_logs

LOGGER = "marts"
_context: ContextVar[Mapping[str, str]] = ContextVar("context", default={})  # noqa: B039 - never changed in place


def context() -> dict[str, str]:
    """Return what each line of this place says besides its message: run_id, step, drop."""
    return dict(_context.get())


@contextmanager
def within(**names: str) -> Iterator[None]:
    """Add to what lines say, for a while."""
    token = _context.set({**_context.get(), **names})
    try:
        yield
    finally:
        _context.reset(token)


class Stderr(logging.StreamHandler[TextIO]):
    """Writes to what stderr is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self.stream = sys.stderr
        super().emit(record)


class Json(logging.Formatter):
    """One JSON object per line; a record may bring ``fields`` of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        announced: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **context(),
            **getattr(record, "fields", {}),
        }
        if record.exc_text:
            announced["traceback"] = record.exc_text
        return scrub(json.dumps(announced, ensure_ascii=False, default=str))


class Text(logging.Formatter):
    """A line for people: when, how bad, what."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        at = datetime.fromtimestamp(record.created, UTC)
        bad = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        text = f"{at:%H:%M:%S} {bad}{record.getMessage()}"
        return f"{text}\n{record.exc_text}" if record.exc_text else text


def set_up(handler: logging.Handler, level: int) -> None:
    """Let a handler write all lines of ours from a level on, and what others warn of. It takes another's place."""
    scrub_logs()
    root = logging.getLogger()
    for old in [item for item in root.handlers if getattr(item, "is_ours", False)]:
        root.removeHandler(old)
    handler.is_ours = True  # type: ignore[attr-defined]
    root.addHandler(handler)
    logging.getLogger(LOGGER).setLevel(level)


def speaks_json() -> bool:
    """Return whether lines of ours are JSON: nothing else is to come between them."""
    return any(
        isinstance(item.formatter, Json) for item in logging.getLogger().handlers if getattr(item, "is_ours", False)
    )


def set_up_worker(level: int) -> None:
    """Write JSON to the worker's own log, which the Ray dashboard shows with the task."""
    handler = Stderr()
    handler.setFormatter(Json())
    set_up(handler, level)
