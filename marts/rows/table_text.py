"""Write the values of typed tables as text, as a CSV file of the same block would have them."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
"""Tests of types of texts."""
_AS_THEY_ARE = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_date32)
"""Tests of types whose values Arrow writes as text."""
_WRITTEN_OUT = 40
"""Digits before or after the point up to which a number is written without an exponent."""
_BEYOND = "(out of range)"
_EXCEL_DIGITS = 15
"""Digits of a number that a spreadsheet keeps: 37.50000000000001 is 37.5."""


def as_text(column: pa.Array | pa.ChunkedArray, decimal: str = ".") -> pa.Array:
    """Return the values of a column as text; ``decimal`` is the decimal mark of the block. Texts must be UTF-8."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(column.type):
        column, _ = readable(column.cast(column.type.value_type))
    kind = column.type
    if any(is_type(kind) for is_type in _TEXTS):
        return column.cast(pa.string())
    if any(is_type(kind) for is_type in _AS_THEY_ARE):
        return column.cast(pa.string())
    if pa.types.is_decimal(kind):
        return _decimals(column, decimal)
    if pa.types.is_date64(kind):
        return _moments(column.cast(pa.timestamp("ms")), "%Y-%m-%d")
    if pa.types.is_timestamp(kind):
        return _moments(column, "%Y-%m-%dT%H:%M:%S")
    if pa.types.is_floating(kind):
        encoded = column.dictionary_encode()
        values = _shortest(encoded.dictionary)
        return pa.array([cell(value, decimal) for value in values], pa.string()).take(encoded.indices)
    return pa.array([cell(_value(scalar), decimal) for scalar in column], pa.string())


def readable(column: pa.Array | pa.ChunkedArray) -> tuple[pa.Array | pa.ChunkedArray, np.ndarray]:
    """Return a column in which texts that are not UTF-8 are written out, so that they can be shown; and which are."""
    if not any(is_type(column.type) for is_type in _TEXTS) or _is_valid(column):
        return column, np.zeros(len(column), bool)
    values = column.cast(pa.large_binary()).to_pylist()
    wrong = np.array([value is not None and not _is_text(value) for value in values])
    return pa.array([None if value is None else cell(value) for value in values], pa.string()), wrong


def _is_valid(column: pa.Array | pa.ChunkedArray) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decimals(column: pa.Array, decimal: str) -> pa.Array:
    """Return decimals without exponents: Arrow writes 0E-18 for a zero of 18 digits."""
    text = column.cast(pa.string())
    if pc.any(pc.match_substring(text, "E")).as_py():
        encoded = column.dictionary_encode()
        values = [cell(value) for value in encoded.dictionary.to_pylist()]
        text = pa.array(values, pa.string()).take(encoded.indices)
    return text if decimal == "." else pc.replace_substring(text, ".", decimal)


def _shortest(numbers: pa.Array) -> list[Any]:
    """Return floats; those of less than 64 bits as the shortest decimals that they stand for: 19.99, not 19.9899998."""
    if pa.types.is_float64(numbers.type):
        return list(numbers.to_pylist())
    return [None if math.isnan(value) else Decimal(str(value)) for value in numbers.to_numpy(zero_copy_only=False)]


def _value(scalar: pa.Scalar) -> Any:
    """Return a value of Python; a date that Python cannot hold as a text that is no date."""
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        return _BEYOND


def _moments(column: pa.Array, form: str) -> pa.Array:
    """Return timestamps in ISO form, with Z if they have a time zone: Arrow stores them in UTC."""
    zone = "Z" if column.type.tz else ""
    bare = column.cast(pa.timestamp(column.type.unit))
    return pc.binary_join_element_wise(pc.strftime(bare, form), zone, "")


def cell(value: Any, decimal: str = ".") -> str | None:
    """Return one value as text; None if it is empty."""
    match value:
        case None:
            return None
        case bool():
            return str(value).lower()
        case str():
            return value or None
        case float():
            return _number(Decimal(f"{value:.{_EXCEL_DIGITS}g}"), decimal) if value == value else None
        case int():
            return str(value)
        case Decimal():
            return _number(value, decimal)
        case datetime():
            midnight = value.time() == time(0) and value.tzinfo is None
            return value.date().isoformat() if midnight else value.isoformat()
        case date() | time():
            return value.isoformat()
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case _:
            return json.dumps(value, ensure_ascii=False, default=str)


def _number(value: Decimal, decimal: str) -> str:
    # 1e999999999 written out would fill the memory; with its exponent it is no number of ours.
    text = format(value, "f") if value.is_finite() and abs(value.adjusted()) < _WRITTEN_OUT else str(value)
    return text.replace(".", decimal) if decimal != "." else text


def table_of(rows: Sequence[Sequence[Any]], names: Iterable[str], decimal: str = ".") -> pa.Table:
    """Return rows of values as columns of text; short rows are filled up."""
    fields = list(names)
    columns = [[cell(row[at], decimal) if at < len(row) else None for row in rows] for at in range(len(fields))]
    return pa.Table.from_arrays([pa.array(column, pa.string()) for column in columns], names=fields)


def line_of(table: pa.Table, row: int) -> str:
    """Return a row as a line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([column[row].as_py() or "" for column in table.columns])
    return text.getvalue()
