"""Write the values of typed tables as text, as a CSV file of the same block would have them."""

import json
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_AS_THEY_ARE = (pa.types.is_large_string, pa.types.is_integer, pa.types.is_boolean, pa.types.is_date32)
"""Tests of types whose values Arrow writes as text."""
_WRITTEN_OUT = 40
"""Digits before or after the point up to which a number is written without an exponent."""
_EXCEL_DIGITS = 15
"""Digits of a number that a spreadsheet keeps: 37.50000000000001 is 37.5."""


def as_text(column: pa.Array | pa.ChunkedArray, decimal: str = ".") -> pa.Array:
    """Return the values of a column as text; ``decimal`` is the decimal mark of the block."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if (
        pa.types.is_large_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_date32(kind)
    ):
        return column.cast(pa.string())
    if pa.types.is_decimal(kind):
        return _with_mark(column.cast(pa.string()), decimal)
    if pa.types.is_timestamp(kind):
        return _moments(column)
    if pa.types.is_floating(kind):
        encoded = column.dictionary_encode()
        values = [cell(value, decimal) for value in encoded.dictionary.to_pylist()]
        return pa.array(values, pa.string()).take(encoded.indices)
    return pa.array([cell(value, decimal) for value in column.to_pylist()], pa.string())


def _moments(column: pa.Array) -> pa.Array:
    """Return timestamps in ISO form, with Z if they have a time zone: Arrow stores them in UTC."""
    zone = "Z" if column.type.tz else ""
    bare = column.cast(pa.timestamp(column.type.unit))
    return pc.binary_join_element_wise(pc.strftime(bare, "%Y-%m-%dT%H:%M:%S"), zone, "")


def _with_mark(text: pa.Array, decimal: str) -> pa.Array:
    return text if decimal == "." else pc.replace_substring(text, ".", decimal)


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
