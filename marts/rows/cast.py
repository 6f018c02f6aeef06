"""Convert texts of a file to typed columns, exactly; values that do not fit become null and are marked."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marts.pack import DIGITS, EXTRA, Kind, SourceColumn
from marts.policy import Policy
from marts.rows.buffers import letters, may_be_padded, stripped
from marts.rows.columns import Column, Mask, last_digits
from marts.rows.dates import exact_dates
from marts.rows.header import Header
from marts.rows.numbers import plain_numbers, without_prefix
from marts.rows.source_block import DEFAULT, SourceBlock

TIME = "sales_time"
"""Full sales_date if it is a timestamp: lines with different timestamps are different lines."""
_DIGITS = 18
"""Maximum digits of a whole number, and of a decimal in units of its last digit: fits DECIMAL(18,x) and 64 bits."""
DELETED = "deleted"
"""Column of clean rows of changes to a dimension: whether the row deletes its key."""
_LONGEST = 24
"""Maximum characters of a number or a date without a time, zeros included."""
_FIRST_DAY = -719_162
"""0001-01-01, in days since 1970."""
Typed = tuple[pa.Array, Mask | None]
"""Values, null where a text does not fit; and a mask of these rows, or None."""
Sure = tuple[pa.Array, Mask]
_YES_NO = {"Y": "Y", "N": "N", "YES": "Y", "NO": "N", "TRUE": "Y", "FALSE": "N", "1": "Y", "0": "N"}
"""Words in upper case, and the value that they mean."""
_SOME = 1 / 8
"""Share of irregular values of a column above which the whole column is converted once per distinct text."""
_WHOLE = r"^-?0*[0-9]{1,18}([.]0*)?$"
"""A whole number; spreadsheets and pandas write 17850.0 for one."""


def clean_schema(kind: Kind, changes: bool = False) -> pa.Schema:
    """Return the Arrow schema of clean rows of a kind, or of changes to a dimension."""
    fields = [(column.clean_name, _arrow_type(column)) for column in kind.columns]
    fields += [(column.name, pa.timestamp("us")) for column in kind.columns if column.type == "time"]
    if changes:
        return pa.schema([*fields, (DELETED, pa.bool_())])
    if not kind.is_fact:
        return pa.schema(fields)
    times = [] if kind.dated_by.type == "time" else [(TIME, pa.string())]
    return pa.schema([*fields, *times, (EXTRA, pa.string())])


def _arrow_type(column: SourceColumn) -> pa.DataType:
    match column.type:
        case "date" | "time":
            return pa.date32()
        case "text" | "text_id" | "yes_no":
            return pa.string()
        case _:
            return pa.int64()


def read_column(
    column: SourceColumn, header: Header, text: pa.Table, policy: Policy, block: SourceBlock = DEFAULT
) -> Column:
    """Type one column; values that do not fit become null and are marked. A missing column is all null."""
    digits = DIGITS.get(column.type, 0)
    if column.name not in header.known:
        return Column(pa.nulls(text.num_rows, _arrow_type(column)), digits)
    written = text[column.name].combine_chunks()
    values, unfit = _typed(column, written, policy, block)
    unfit = unfit if unfit is not None and unfit.any() else None
    if column.guests:
        values = _without(values, policy.unknown_ids)
    if column.type in ("text", "text_id"):
        written = values  # surrounding white space has no meaning
    return Column(values, digits, written, unfit, column.personal)


def _without(values: pa.Array, unknown: Sequence[int | str]) -> pa.Array:
    """Replace the ids that stand for guests with null."""
    if pa.types.is_string(values.type):
        nobody = pc.is_in(values, pa.array(map(str, unknown), pa.string()))
        return pc.if_else(nobody, pa.scalar(None, pa.string()), values)
    numbers = _int64(values)
    nobody = np.isin(numbers, np.array(unknown, np.int64))
    return pc.if_else(pa.array(nobody), pa.scalar(None, pa.int64()), values) if nobody.any() else values


def _typed(column: SourceColumn, text: pa.Array, policy: Policy, block: SourceBlock) -> Typed:
    match column.type:
        case "id" | "integer":
            return _read_whole(plain_numbers(without_prefix(text, block.prefix(column.name)), block))
        case "quantity":
            return _read_whole(plain_numbers(text, block), DIGITS["quantity"])
        case "price" | "money" | "amount" | "percent" | "decimal4" | "decimal6":
            return _read_decimal(plain_numbers(text, block), DIGITS[column.type])
        case "date" | "time":
            return _read_dates(text, policy, block)
        case "yes_no":
            return _read_words(stripped(text), _YES_NO)
        case "text_id":
            return _read_text(column, prefixed(text, block.prefix(column.name)))
        case "text":
            return _read_words(_trimmed(text), column.words) if column.values else _read_text(column, text)


def _read_whole(text: pa.Array, digits: int = 0) -> Typed:
    """Read whole numbers in units of ``digits`` after the point; texts with a point use the exact conversion."""
    codes, edges = letters(text)
    sizes = np.diff(edges)
    plain = (_others_than_digits(codes, edges) == 0) & (sizes >= 1) & (sizes <= _DIGITS - digits)
    exact = partial(_exact_decimal, digits=digits) if digits else _exact_whole
    values, unfit = _but_for_some(text, plain, codes, edges, exact, 10**digits)
    return values, unfit


def _exact_whole(text: pa.Array) -> Sure:
    trimmed = stripped(text)
    whole, unfit = _only(trimmed, _match_number(trimmed, _WHOLE))
    return pc.replace_substring_regex(whole, r"[.]0*$", "").cast(pa.int64()), unfit


def _read_decimal(text: pa.Array, digits: int) -> Typed:
    """Read decimals in units of ``digits`` after the point: those with two fast, others by the exact conversion."""
    codes, edges = letters(text)
    sizes = np.diff(edges)
    points = np.maximum(edges[1:] - 3, 0)
    most = _DIGITS + 1 - (digits - 2)
    plain = (_others_than_digits(codes, edges) == 1) & (sizes >= 4) & (sizes <= most)
    plain[plain] = codes[points[plain]] == ord(".")
    # Without its point, the text is a whole number of cents.
    kept = np.ones(len(codes), bool)
    kept[points[plain]] = False
    removed = np.concatenate([[0], np.cumsum(plain)])
    exact = partial(_exact_decimal, digits=digits)
    return _but_for_some(text, plain, codes[kept], edges - removed, exact, 10 ** (digits - 2))


def _exact_decimal(text: pa.Array, digits: int) -> Sure:
    trimmed = stripped(text)
    whole = f"0*[0-9]{{1,{_DIGITS - digits}}}"
    pattern = rf"^[+-]?({whole}\.?|{whole}\.[0-9]{{1,{digits}}}0*|\.[0-9]{{1,{digits}}}0*)$"
    decimals, unfit = _only(trimmed, _match_number(trimmed, pattern))
    return last_digits(decimals.cast(pa.decimal128(_DIGITS, digits))), unfit


def _but_for_some(
    text: pa.Array, plain: Mask, codes: np.ndarray, edges: np.ndarray, exact: Callable[[pa.Array], Sure], unit: int
) -> Typed:
    """Read plain texts as whole numbers times ``unit``, and the others, usually few, with ``exact``."""
    odd = _valid(text) & ~plain
    if int(odd.sum()) > _SOME * len(text):
        return _each_once(text, exact)
    buffers = [np.packbits(plain, bitorder="little"), edges.astype(np.int32, copy=False), codes]
    digits = pa.Array.from_buffers(pa.string(), len(text), [pa.py_buffer(buffer) for buffer in buffers])
    values = digits.cast(pa.int64())
    if unit > 1:
        values = pc.multiply(values, unit)
    if not odd.any():
        return values, None
    result, unfit = exact(text.filter(pa.array(odd)))
    existing = np.zeros(len(text), bool)
    existing[odd] = unfit
    return pc.replace_with_mask(values, pa.array(odd), result), existing


def _others_than_digits(codes: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Count the bytes of each text that are not digits."""
    before = np.zeros(len(codes) + 1, np.int32)
    np.cumsum((codes - np.uint8(ord("0"))) > 9, out=before[1:])
    return np.diff(before[edges])


def _each_once(text: pa.Array, exact: Callable[[pa.Array], Sure]) -> Sure:
    """Convert each distinct text once: most columns have few."""
    encoded = text.dictionary_encode()
    values, unfit = exact(encoded.dictionary)
    existing = _numpy(pc.take(pa.array(unfit), encoded.indices).fill_null(False))
    return values.take(encoded.indices), existing


def _match_number(text: pa.Array, pattern: str) -> pa.Array:
    short = pc.less_equal(pc.binary_length(text), _LONGEST)
    return pc.and_(pc.match_substring_regex(text, pattern), short)


def _read_dates(text: pa.Array, policy: Policy, block: SourceBlock) -> Typed:
    values = None if block.dates else _cast_clean(text, pa.date32())
    if values is not None and not (_int64(values.cast(pa.int32()).cast(pa.int64())) < _FIRST_DAY).any():
        return values, None
    return _each_once(text, lambda distinct: exact_dates(distinct, ZoneInfo(policy.business_timezone), block))


def _read_text(column: SourceColumn, text: pa.Array) -> Typed:
    """Trim texts; a blank text is null. A text that is too long does not fit."""
    values = _trimmed(text)
    _, edges = letters(values)
    if not len(text) or int(np.diff(edges).max()) <= column.max_length:
        return values, None  # a text never has more characters than bytes
    return values, _numpy(pc.greater(pc.fill_null(pc.utf8_length(values), 0), column.max_length))


def _read_words(trimmed: pa.Array, known: Mapping[str, str]) -> Typed:
    """Read words in any case of letters; ``known`` has their values by their upper case."""
    words = pa.array(list(known), pa.string())
    values = pa.array(list(known.values()), pa.string()).take(pc.index_in(pc.utf8_upper(trimmed), words))
    return values, _numpy(trimmed.is_valid()) & ~_numpy(values.is_valid())


def prefixed(text: pa.Array, prefix: str) -> pa.Array:
    """Take the prefix of a block off ids that have it."""
    return pc.replace_substring_regex(text, rf"^\s*{re.escape(prefix)}", "") if prefix else text


def _trimmed(text: pa.Array) -> pa.Array:
    """Trim texts; null where nothing is left. Only texts that may have white space are processed."""
    maybe = may_be_padded(text) & _valid(text)
    if not maybe.any():
        return text
    places = pa.array(maybe)
    return pc.replace_with_mask(text, places, stripped(text.filter(places)))


def extra_as_json(names: tuple[str, ...], text: pa.Table) -> pa.Array:
    """Join extra columns into one JSON object per row, by name; null where all are empty."""
    pieces = [_json_pieces(name, text[name].combine_chunks()) for name in names]
    if not pieces:
        return pa.nulls(text.num_rows, pa.string())
    joined = pc.utf8_rtrim(pc.binary_join_element_wise(*pieces, ""), ", ")
    whole = pc.binary_join_element_wise("{", joined, "}", "")
    return pc.if_else(pc.equal(joined, ""), pa.scalar(None, pa.string()), whole)


def _json_pieces(name: str, values: pa.Array) -> pa.Array:
    """Return '"name": "value", ' per row; an empty string where the value is null."""
    key = json.dumps(name, ensure_ascii=False) + ": "
    if pc.any(pc.match_substring_regex(values, r'[\x00-\x1f"\\]')).as_py():
        encoded = values.dictionary_encode()
        quoted = pa.array([json.dumps(v, ensure_ascii=False) for v in encoded.dictionary.to_pylist()], pa.string())
        pieces = pc.binary_join_element_wise(key, quoted.take(encoded.indices), ", ", "")
    else:
        pieces = pc.binary_join_element_wise(key + '"', values, '", ', "")
    return pc.fill_null(pieces, "")


def _cast_clean(text: pa.Array, to: pa.DataType) -> pa.Array | None:
    """Cast a column that is entirely clean; return None if it is not.

    Arrow's casts also accept '0x1f' and '1e3', so the bytes are checked first: accepted numbers and dates
    contain only bytes from '+' to '9'.
    """
    codes, edges = letters(text)
    longest = int(np.diff(edges).max(initial=0))
    if longest > _LONGEST or (len(codes) and (codes.min() < ord("+") or codes.max() > ord("9"))):
        return None
    try:
        return text.cast(to)
    except pa.ArrowInvalid:
        return None


def _only(values: pa.Array, ok: pa.Array) -> Sure:
    """Keep the valid values; mark the others."""
    kept = pc.if_else(pc.fill_null(ok, False), values, pa.scalar(None, pa.string()))
    return kept, ~_numpy(pc.fill_null(ok, True))


def _valid(values: pa.Array) -> Mask:
    return _numpy(values.is_valid()) if values.null_count else np.ones(len(values), bool)


def _int64(values: pa.Array) -> np.ndarray:
    filled = values.fill_null(0) if values.null_count else values
    return np.asarray(filled.to_numpy(zero_copy_only=False))


def _numpy(mask: pa.Array) -> Mask:
    return np.asarray(mask.to_numpy(zero_copy_only=False), bool)
