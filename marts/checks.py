"""Turn columns of text into typed columns, and say of each row that does not fit why.

A row's verdict depends on the row, the schema and the policy alone: never on its neighbours. Each
conversion therefore has two ways that accept exactly the same texts: a fast one for columns that are
clean as a whole, and an exact one that finds the values that are not.
"""

import json
import re
from dataclasses import dataclass, field
from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marts.policy import Policy
from marts.records import Header
from marts.schema import SALES, Kind, SourceColumn

EXTRA = "additional_columns"
TIME = "sales_time"
"""The whole sales_date where it is a timestamp: lines that differ in it are not the same line."""
_LIMIT = 10**18
"""Whole numbers and cents have at most 18 digits: they fit DECIMAL(18,2) and 64 bits."""
_LONGEST = 24
"""Characters of a number or a date without a time, zeros included."""
_WHOLE = r"^-?0*[0-9]{1,18}$"
_DECIMAL = r"^[+-]?(0*[0-9]{1,16}\.?|0*[0-9]{1,16}\.[0-9]{1,2}0*|\.[0-9]{1,2}0*)$"
_LOCAL_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,9})?)?$"
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ZONED = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:[.][0-9]{1,9})?(Z|[+-][0-9]{2}:?[0-9]{2})"
)
_EXAMPLE = 80

Mask = np.ndarray
Broken = list[tuple[Mask, str, pa.Array | None]]
"""Rows that break a rule, the rule in words, and the column that holds the offending values."""


@dataclass(frozen=True)
class Checked:
    """The rows of one block, judged."""

    clean: pa.Table
    """Typed rows, columns as in `clean_schema`."""
    kept: np.ndarray
    """Index of each clean row in the block."""
    reasons: dict[int, list[tuple[str, str]]] = field(default_factory=dict)
    """For each bad row, the rules it breaks and the values that break them."""


def clean_name(column: SourceColumn) -> str:
    """Name a column of clean rows; money is kept in integer cents and says so."""
    if column.type not in ("money", "amount"):
        return column.name
    return "total_cents" if column.name == "total_cost" else f"{column.name}_cents"


def clean_schema(kind: Kind) -> pa.Schema:
    """Give the schema of clean rows of a kind."""
    fields = [(clean_name(column), _arrow_type(column)) for column in kind.columns]
    return pa.schema([*fields, (TIME, pa.string()), (EXTRA, pa.string())] if kind is SALES else fields)


def _arrow_type(column: SourceColumn) -> pa.DataType:
    match column.type:
        case "id" | "integer" | "quantity" | "money" | "amount":
            return pa.int64()
        case "date":
            return pa.date32()
        case _:
            return pa.string()


def check_rows(kind: Kind, header: Header, text: pa.Table, policy: Policy) -> Checked:
    """Judge the rows of a block of text, and type those that are right."""
    broken: Broken = []
    typed: dict[str, pa.Array] = {}
    for column in kind.columns:
        name = clean_name(column)
        if column.name not in header.known:
            typed[name] = pa.nulls(text.num_rows, _arrow_type(column))
            continue
        values = text[column.name].combine_chunks()
        typed[name] = _read(column, values, policy, broken)
        if not column.nullable and values.null_count:
            broken.append((_numpy(values.is_null()), f"{column.name} is empty", None))
    if kind is SALES:
        _check_sales(typed, text, policy, broken)
        typed[TIME] = _times(text["sales_date"].combine_chunks())
        typed[EXTRA] = _as_json(header.extra, text)
    table = pa.table(typed, schema=clean_schema(kind))
    if not broken:
        return Checked(table, np.arange(text.num_rows))
    bad = np.logical_or.reduce([mask for mask, _, _ in broken])
    return Checked(table.filter(pa.array(~bad)), np.flatnonzero(~bad), _reasons(broken))


def _reasons(broken: Broken) -> dict[int, list[tuple[str, str]]]:
    """Collect, for each bad row, its broken rules in the order of the columns."""
    reasons: dict[int, list[tuple[str, str]]] = {}
    for mask, rule, values in broken:
        for row in np.flatnonzero(mask).tolist():
            value = "" if values is None else str(values[row].as_py())
            reasons.setdefault(row, []).append((rule, value[:_EXAMPLE]))
    return reasons


def _read(column: SourceColumn, text: pa.Array, policy: Policy, broken: Broken) -> pa.Array:
    """Type one column; rows that do not fit are null and noted in ``broken``."""
    match column.type:
        case "id" | "integer" | "quantity":
            return _read_whole(column, text, broken)
        case "money" | "amount":
            return _read_cents(column, text, broken)
        case "date":
            return _read_dates(column, text, policy, broken)
        case "yes_no":
            upper = pc.utf8_upper(pc.ascii_trim_whitespace(text))
            ok = pc.is_in(upper, pa.array(["Y", "N", None]))
            return _only(upper, ok, f"{column.name} is not Y or N", text, broken)
        case "text":
            return _read_text(column, text, broken)


def _read_whole(column: SourceColumn, text: pa.Array, broken: Broken) -> pa.Array:
    values = _cast_clean(text, pa.int64())
    if values is None or _beyond(_int64(values)):
        trimmed = pc.ascii_trim_whitespace(text)
        ok = _match_number(trimmed, _WHOLE)
        values = _only(trimmed, ok, f"{column.name} is not a whole number", text, broken).cast(pa.int64())
    numbers = _int64(values)
    if column.type == "id":
        _note((numbers <= 0) & _valid(values), f"{column.name} is not greater than 0", text, broken)
    if column.type == "quantity":
        _note((numbers == 0) & _valid(values), f"{column.name} is 0", text, broken)
    return values


def _read_cents(column: SourceColumn, text: pa.Array, broken: Broken) -> pa.Array:
    values = _cast_clean(text, pa.decimal128(18, 2))
    if values is None:
        trimmed = pc.ascii_trim_whitespace(text)
        ok = _match_number(trimmed, _DECIMAL)
        rule = f"{column.name} is not a decimal number with at most 2 digits after the point"
        values = _only(trimmed, ok, rule, text, broken).cast(pa.decimal128(18, 2))
    cents = _cents(values)
    if column.type == "money":
        _note((_int64(cents) < 0) & _valid(cents), f"{column.name} is negative", text, broken)
    return cents


def _match_number(text: pa.Array, pattern: str) -> pa.Array:
    short = pc.less_equal(pc.binary_length(text), _LONGEST)
    return pc.and_(pc.match_substring_regex(text, pattern), short)


def _read_dates(column: SourceColumn, text: pa.Array, policy: Policy, broken: Broken) -> pa.Array:
    values = _cast_clean(text, pa.date32())
    if values is not None and not (_int64(values.cast(pa.int32()).cast(pa.int64())) < -719_162).any():
        return values
    trimmed = pc.ascii_trim_whitespace(text)
    local = pc.match_substring_regex(trimmed, _LOCAL_TIME)
    days = pc.if_else(local, pc.utf8_slice_codeunits(trimmed, 0, 10), trimmed).dictionary_encode()
    zone = ZoneInfo(policy.business_timezone)
    distinct = pa.array([_day(value, zone) for value in days.dictionary.to_pylist()], pa.date32())
    values = distinct.take(days.indices)
    _note(_valid(text) & ~_valid(values), f"{column.name} is not an ISO date", text, broken)
    return values


def _day(text: str, zone: ZoneInfo) -> date | None:
    """Read one ISO date, or a timestamp with an offset as its date in the business time zone."""
    zoned = _ZONED.fullmatch(text)
    try:
        if zoned:
            return datetime.fromisoformat("".join((zoned[1], "T", zoned[2], zoned[3]))).astimezone(zone).date()
        return date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except (ValueError, OverflowError):
        return None


def _times(text: pa.Array) -> pa.Array:
    """Keep what is longer than a date."""
    _, longest = _bytes(text)
    if longest <= len("YYYY-MM-DD"):
        return pa.nulls(len(text), pa.string())
    longer = pc.greater(pc.binary_length(text), len("YYYY-MM-DD"))
    return pc.if_else(pc.fill_null(longer, False), text, pa.scalar(None, pa.string()))


def _read_text(column: SourceColumn, text: pa.Array, broken: Broken) -> pa.Array:
    blank = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(text), ""), False)
    if column.nullable:
        text = pc.if_else(blank, pa.scalar(None, pa.string()), text) if pc.any(blank).as_py() else text
    else:
        _note(_numpy(blank), f"{column.name} is empty", None, broken)
    length = pc.fill_null(pc.utf8_length(text), 0)
    long = _numpy(pc.greater(length, column.max_length))
    _note(long, f"{column.name} has more than {column.max_length:,} characters", text, broken)
    return text


def _check_sales(typed: dict[str, pa.Array], text: pa.Table, policy: Policy, broken: Broken) -> None:
    """Check the rules between the columns of a line: its total, and whether it may be a return."""
    price, quantity, total = (typed[name] for name in ("price_cents", "quantity", "total_cents"))
    whole = _valid(price) & _valid(quantity) & _valid(total)
    wrong = _off_by_more(_int64(price), _int64(quantity), _int64(total), int(policy.total_cost_tolerance * 100))
    written = text["total_cost"].combine_chunks()
    _note(wrong & whole, "total_cost is not price * quantity", written, broken)
    if not policy.allow_returns:
        returned = (_int64(quantity) < 0) & _valid(quantity)
        _note(returned, "quantity is negative, and returns are not allowed", text["quantity"].combine_chunks(), broken)


def _off_by_more(price: np.ndarray, quantity: np.ndarray, total: np.ndarray, tolerance: int) -> Mask:
    """Tell where |total - price * quantity| > tolerance, exactly, at any size."""
    largest = int(np.abs(price).max(initial=0)) * int(np.abs(quantity).max(initial=0))
    if largest + int(np.abs(total).max(initial=0)) >= 2**63:
        price, quantity, total = (values.astype(object) for values in (price, quantity, total))
    return np.asarray(np.abs(total - price * quantity) > tolerance, bool)


def _as_json(names: tuple[str, ...], text: pa.Table) -> pa.Array:
    """Join extra columns to one JSON object per row, by name; null where all are empty."""
    pieces = [_json_pieces(name, text[name].combine_chunks()) for name in names]
    if not pieces:
        return pa.nulls(text.num_rows, pa.string())
    joined = pc.utf8_rtrim(pc.binary_join_element_wise(*pieces, ""), ", ")
    whole = pc.binary_join_element_wise("{", joined, "}", "")
    return pc.if_else(pc.equal(joined, ""), pa.scalar(None, pa.string()), whole)


def _json_pieces(name: str, values: pa.Array) -> pa.Array:
    """Give '"name": "value", ' per row, and nothing where the value is null."""
    key = json.dumps(name, ensure_ascii=False) + ": "
    if pc.any(pc.match_substring_regex(values, r'[\x00-\x1f"\\]')).as_py():
        encoded = values.dictionary_encode()
        quoted = pa.array([json.dumps(v, ensure_ascii=False) for v in encoded.dictionary.to_pylist()], pa.string())
        pieces = pc.binary_join_element_wise(key, quoted.take(encoded.indices), ", ", "")
    else:
        pieces = pc.binary_join_element_wise(key + '"', values, '", ', "")
    return pc.fill_null(pieces, "")


def _cast_clean(text: pa.Array, to: pa.DataType) -> pa.Array | None:
    """Cast a column that is clean as a whole, or None.

    The casts of Arrow also read '0x1f' and '1e3', so the bytes are looked at first: only those
    from '+' to '9' take part in a number or a date that we accept.
    """
    used, longest = _bytes(text)
    if longest > _LONGEST or (len(used) and (used.min() < ord("+") or used.max() > ord("9"))):
        return None
    try:
        return text.cast(to)
    except pa.ArrowInvalid:
        return None


def _bytes(text: pa.Array) -> tuple[np.ndarray, int]:
    """View the bytes of all texts of an array, without a copy, and the length of the longest."""
    _, offsets, data = text.buffers()
    if data is None or not len(text):
        return np.empty(0, np.uint8), 0
    places = np.frombuffer(offsets, np.int32)[text.offset : text.offset + len(text) + 1]
    return np.frombuffer(data, np.uint8)[places[0] : places[-1]], int(np.diff(places).max())


def _cents(values: pa.Array) -> pa.Array:
    """View DECIMAL(18,2) as integer cents: the low 8 of its 16 bytes."""
    low = np.frombuffer(values.buffers()[1], np.int64)[::2][values.offset : values.offset + len(values)]
    return pa.array(low, mask=None if not values.null_count else ~_valid(values))


def _only(values: pa.Array, ok: pa.Array, rule: str, text: pa.Array, broken: Broken) -> pa.Array:
    """Keep the values that are ok; note the rows of the others."""
    _note(~_numpy(pc.fill_null(ok, True)), rule, text, broken)
    return pc.if_else(pc.fill_null(ok, False), values, pa.scalar(None, pa.string()))


def _note(mask: Mask, rule: str, values: pa.Array | None, broken: Broken) -> None:
    if mask.any():
        broken.append((mask, rule, values))


def _beyond(numbers: np.ndarray) -> bool:
    return bool(len(numbers) and (numbers.max() >= _LIMIT or numbers.min() <= -_LIMIT))


def _valid(values: pa.Array) -> Mask:
    return _numpy(values.is_valid()) if values.null_count else np.ones(len(values), bool)


def _int64(values: pa.Array) -> np.ndarray:
    filled = values.fill_null(0) if values.null_count else values
    return np.asarray(filled.to_numpy(zero_copy_only=False))


def _numpy(mask: pa.Array) -> Mask:
    return np.asarray(mask.to_numpy(zero_copy_only=False), bool)
