"""Format log lines: text on a terminal, JSON elsewhere and in Ray's workers, each with its run, step and drop."""

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
    """Return the context fields of the current log lines: run_id, step, drop."""
    return dict(_context.get())


@contextmanager
def within(**names: str) -> Iterator[None]:
    """Add context fields to log lines inside the ``with`` block."""
    token = _context.set({**_context.get(), **names})
    try:
        yield
    finally:
        _context.reset(token)


class Stderr(logging.StreamHandler[TextIO]):
    """Write to the current value of ``sys.stderr``."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self.stream = sys.stderr
        super().emit(record)


class Json(logging.Formatter):
    """Format records as one JSON object per line; a record may have extra ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
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
    """Format records as text: time, level from warning on, message."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        at = datetime.fromtimestamp(record.created, UTC)
        bad = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        text = f"{at:%H:%M:%S} {bad}{record.getMessage()}"
        return f"{text}\n{record.exc_text}" if record.exc_text else text


def set_up(handler: logging.Handler, level: int) -> None:
    """Install a handler, in place of the last one, for Martwright's records from a level on and libraries' warnings."""
    scrub_logs()
    root = logging.getLogger()
    for old in [item for item in root.handlers if getattr(item, "is_ours", False)]:
        root.removeHandler(old)
    handler.is_ours = True  # type: ignore[attr-defined]
    root.addHandler(handler)
    logging.getLogger(LOGGER).setLevel(level)


def speaks_json() -> bool:
    """Return whether log lines are JSON. Then nothing else may be printed between them."""
    return any(
        isinstance(item.formatter, Json) for item in logging.getLogger().handlers if getattr(item, "is_ours", False)
    )


def set_up_worker(level: int) -> None:
    """Write JSON to the worker's own log, which the Ray dashboard shows with the task."""
    handler = Stderr()
    handler.setFormatter(Json())
    set_up(handler, level)
