"""Remove credentials from all output: log lines, errors, tracebacks, reports."""

import base64
import contextlib
import json
import logging
import re
import traceback
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

from jobs.runtime.escaping import visible
from marts.errors import MartsError

_SHORTEST = 4
"""Minimum length in characters: masking a shorter value would break up words and thereby reveal it."""
_IN_ADDRESS = re.compile(r"(://[^/\s:@]*):(?!sealed:|\*\*\*@)[^/\s@]+@")
"""A password in an address written by other software: in its log or its messages."""
_known: set[str] = set()


def remember(value: str) -> None:
    """Remove this value from all output from now on, in every spelling."""
    if len(value) >= _SHORTEST and value not in _known:
        _known.add(value)
        _pattern.cache_clear()


def scrub(text: str) -> str:
    """Return a text without the credentials that this process has opened."""
    text = _pattern(len(_known)).sub("***", text) if _known else text
    return _IN_ADDRESS.sub(r"\1:***@", text) if "@" in text else text


def scrubbed(error: MartsError) -> MartsError:
    """Return an error without credentials."""
    error.what, error.where, error.hint = scrub(error.what), scrub(error.where), scrub(error.hint)
    error.args = (error.what, error.where, error.hint)
    return error


def scrub_logs() -> None:
    """Remove credentials and terminal escapes from all log records of this process, including those of libraries."""
    built = logging.getLogRecordFactory()
    if getattr(built, "scrubs", False):
        return

    def factory(*arguments: Any, **more: Any) -> logging.LogRecord:
        record = built(*arguments, **more)
        with contextlib.suppress(Exception):  # a wrong log call or argument: logging reports it itself
            record.msg, record.args = visible(scrub(record.getMessage()), keep="\n\t"), ()
        if record.exc_info and record.exc_info[0]:
            text = "".join(traceback.format_exception(*record.exc_info)).rstrip()
            record.exc_text = visible(scrub(text), keep="\n\t")
        return record

    factory.scrubs = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(factory)


@lru_cache(maxsize=1)
def _pattern(_: int) -> re.Pattern[str]:
    spelled = {form for value in _known for form in _spellings(value) if len(form) >= _SHORTEST}
    return re.compile("|".join(re.escape(form) for form in sorted(spelled, key=len, reverse=True)))


def _spellings(value: str) -> set[str]:
    """Return the spellings in which libraries write a value."""
    encoded = base64.b64encode(value.encode()).decode()
    lines = {line.strip() for line in value.splitlines()}
    quoted = {quote(value, safe=""), quote(value), quote_plus(value)}
    written = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
    return {value, encoded, encoded.rstrip("=")} | lines | quoted | written
