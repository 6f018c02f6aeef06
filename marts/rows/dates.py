"""Read dates and timestamps, in ISO form or in the formats of a block, as days of the business time zone."""

import re
from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marts.rows.buffers import letters, stripped
from marts.rows.columns import Mask, mask_of
from marts.rows.date_formats import iso_of
from marts.rows.source_block import SourceBlock

_LOCAL_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,9})?)?$"
_SPELLINGS = (
    (r"^([0-9]{4})([0-9]{2})([0-9]{2})($|[T ])", r"\1-\2-\3\4"),
    (r"^(.{10})[T ]([0-9]):", r"\1T0\2:"),
    (r" ?(UTC|z)$", "Z"),
    (r"(:[0-9]{2}(?:[.][0-9]+)?) ?([+-][0-9]{2})$", r"\1\2:00"),
)
"""Other spellings of ISO dates, read without asking, and their replacements, applied in order."""
_OTHER = "|".join(pattern for pattern, _ in _SPELLINGS)
_ONE_WAY = (
    (r"^(.{10})[ ]", r"\1T"),
    (r"^(.{10}T[0-9]{2}:[0-9]{2})($|[Z+-])", r"\1:00\2"),
    (r"([.][0-9]*?)0+($|[Z+-])", r"\1\2"),
    (r"[.]($|[Z+-])", r"\1"),
    (r"(Z|[+-]00:?00)$", "+00:00"),
    (r"([+-][0-9]{2})([0-9]{2})$", r"\1:\2"),
)
"""Patterns of timestamps and their replacements, applied in order."""
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:[.][0-9]{1,9})?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_TO_THE_MINUTE = len("YYYY-MM-DDTHH:MM")
TIMES = pa.timestamp("us")
"""Type of times: on the clock of the business time zone."""


def exact_dates(text: pa.Array, zone: ZoneInfo, block: SourceBlock) -> tuple[pa.Array, Mask]:
    """Return the day of each text in the business time zone, and where a text is no date.

    A timestamp with an offset is converted; one without is in the block's time zone, by default the business's.
    """
    trimmed = iso_texts(text, block)
    naive = ZoneInfo(block.timezone) if block.timezone else None
    local = pc.match_substring_regex(trimmed, _LOCAL_TIME)
    known = _TO_THE_MINUTE if naive else len("YYYY-MM-DD")
    days = pc.if_else(local, pc.utf8_slice_codeunits(trimmed, 0, known), trimmed).dictionary_encode()
    distinct = pa.array([_day(value, zone, naive) for value in days.dictionary.to_pylist()], pa.date32())
    values = distinct.take(days.indices)
    return values, mask_of(trimmed.is_valid()) & ~mask_of(values.is_valid())


def iso_texts(text: pa.Array, block: SourceBlock) -> pa.Array:
    """Return trimmed texts in ISO form, as far as they fit the block's formats, or the spellings read without any.

    The texts are distinct: each is converted.
    """
    trimmed = stripped(text)
    if block.dates:
        return pa.array([_by_formats(value, block) for value in trimmed.to_pylist()], pa.string())
    if not pc.any(pc.match_substring_regex(trimmed, _OTHER)).as_py():
        return trimmed
    for pattern, instead in _SPELLINGS:
        trimmed = pc.replace_substring_regex(trimmed, pattern, instead)
    return trimmed


def _by_formats(text: str | None, block: SourceBlock) -> str | None:
    """Return a text in ISO form; one that fits no format gets a mark, so that it is no date.

    Dates that are no text in a table (Parquet, Excel) are in ISO form already.
    """
    if text is None:
        return None
    typed = block.format != "csv" and (_DAY.fullmatch(text) or _TIME.fullmatch(text))
    return text if typed else iso_of(text, block.dates, block.decimal) or f"?{text}"


def _day(text: str, zone: ZoneInfo, naive: ZoneInfo | None) -> date | None:
    """Read one ISO date, or a timestamp as its date in the business time zone."""
    match = _TIME.fullmatch(text)
    try:
        if not match:
            return date.fromisoformat(text) if _DAY.fullmatch(text) else None
        time = datetime.fromisoformat("".join((match[1], "T", match[2], match[3] or "")))
        if time.tzinfo is None and naive is not None:
            time = time.replace(tzinfo=naive)
        return (time if time.tzinfo is None else time.astimezone(zone)).date()
    except (ValueError, OverflowError):
        return None


def whole_times(text: pa.Array, block: SourceBlock) -> pa.Array:
    """Keep timestamps, in one canonical form: no white space, T, seconds, no trailing zeros. Dates become null."""
    _, edges = letters(text)
    if not block.dates and int(np.diff(edges).max(initial=0)) <= len("YYYY-MM-DD"):
        return pa.nulls(len(text), pa.string())
    encoded = text.dictionary_encode()
    times = iso_texts(encoded.dictionary, block)
    longer = pc.fill_null(pc.greater(pc.binary_length(times), len("YYYY-MM-DD")), False)
    times = pc.if_else(longer, times, pa.scalar(None, pa.string()))
    for pattern, instead in _ONE_WAY:
        times = pc.replace_substring_regex(times, pattern, instead)
    return times.take(encoded.indices)


def local_times(text: pa.Array, days: pa.Array, zone: str, block: SourceBlock) -> pa.Array:
    """Return the time of each text on the clock of the business time zone; null where it has none, or ``days`` is null.

    A time without an offset is in the block's time zone, by default the business's; digits beyond microseconds are cut.
    """
    times = whole_times(text, block)
    times = pc.if_else(days.is_valid(), times, pa.scalar(None, pa.string()))
    times = pc.replace_substring_regex(times, r"([.][0-9]{6})[0-9]+", r"\1")
    zoned = pc.match_substring_regex(times, r"[+-][0-9]{2}:[0-9]{2}$")
    plain = pc.if_else(zoned, pa.scalar(None, pa.string()), times).cast(TIMES)
    if block.timezone:
        known = pc.assume_timezone(plain, block.timezone, ambiguous="earliest", nonexistent="earliest")
        plain = pc.local_timestamp(known.cast(pa.timestamp("us", zone)))
    if not pc.any(zoned).as_py():
        return plain
    instants = pc.if_else(zoned, times, pa.scalar(None, pa.string())).cast(pa.timestamp("us", zone))
    return pc.coalesce(plain, pc.local_timestamp(instants))
