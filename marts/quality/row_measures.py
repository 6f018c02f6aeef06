"""Row rules: which rows each skips, and which rows break it."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marts.rows.buffers import letters
from marts.rows.columns import Column, Frame, Mask, mask_of

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
EPOCH = date(1970, 1, 1)
MIDNIGHT = datetime(1970, 1, 1)  # noqa: DTZ001 - times have no zone
Masks = tuple[Mask | None, Mask | None]
"""Rows that a rule skips, and rows that break it; each may be None for no row."""


def fits(k: Mapping[str, Any], frame: Frame) -> Masks:
    """Return the rows whose value does not fit the schema."""
    column = frame.columns[k["column"]]
    return column.missing, column.unfit


def not_null(k: Mapping[str, Any], frame: Frame) -> Masks:
    """Return the rows whose value is empty."""
    return None, frame.columns[k["column"]].missing


def null(k: Mapping[str, Any], frame: Frame) -> Masks:
    """Return the rows whose value is not empty."""
    missing = frame.columns[k["column"]].missing
    return None, np.ones(frame.rows, bool) if missing is None else ~missing


def between(k: Mapping[str, Any], frame: Frame) -> Masks:
    """Return the rows whose value is out of bounds."""
    column = frame.columns[k["column"]]
    return column.missing, _seen(column, _outside(column.numbers, k, _unit(column)))


def _outside(numbers: np.ndarray, k: Mapping[str, Any], unit: Callable[[Any], Decimal]) -> Mask | None:
    """Return where numbers are out of bounds. Bounds may be fractions of the numbers' unit."""
    broken: Mask | None = None
    if k.get("min_value") is not None:
        low = unit(k["min_value"])
        least = _whole(low, ROUND_FLOOR) + 1 if k.get("strict_min") else _whole(low, ROUND_CEILING)
        broken = _beyond(numbers, least, below=True)
    if k.get("max_value") is not None:
        high = unit(k["max_value"])
        most = _whole(high, ROUND_CEILING) - 1 if k.get("strict_max") else _whole(high, ROUND_FLOOR)
        above = _beyond(numbers, most, below=False)
        broken = above if broken is None else broken | above
    return broken


def _whole(value: Decimal, rounding: str) -> int:
    return int(value.to_integral_value(rounding))


def _beyond(numbers: np.ndarray, bound: int, below: bool) -> Mask:
    """Compare with a bound of any size, even beyond 64 bits."""
    if below:
        return np.full(len(numbers), bound > _HIGHEST) if not _LOWEST <= bound <= _HIGHEST else numbers < bound
    return np.full(len(numbers), bound < _LOWEST) if not _LOWEST <= bound <= _HIGHEST else numbers > bound


def _text_outside(values: pa.Array, k: Mapping[str, Any]) -> Mask | None:
    masks = []
    if k.get("min_value") is not None:
        masks.append((pc.less_equal if k.get("strict_min") else pc.less)(values, k["min_value"]))
    if k.get("max_value") is not None:
        masks.append((pc.greater_equal if k.get("strict_max") else pc.greater)(values, k["max_value"]))
    return reduce(np.logical_or, [mask_of(pc.fill_null(mask, False)) for mask in masks])


def _unit(column: Column) -> Callable[[Any], Decimal]:
    """Return a function that converts a bound to the unit of a column: its last digit, or time since 1970."""
    if pa.types.is_timestamp(column.values.type):
        return lambda value: Decimal((datetime.fromisoformat(value) - MIDNIGHT) // timedelta(microseconds=1))
    if pa.types.is_date32(column.values.type):
        return lambda value: Decimal((date.fromisoformat(value) - EPOCH).days)
    return lambda value: Decimal(str(value)).scaleb(column.scale)


def in_set(k: Mapping[str, Any], frame: Frame) -> Masks:
    """Return the rows whose value is not in a set."""
    column = frame.columns[k["column"]]
    return column.missing, _seen(column, ~_is_in(column, k["value_set"]))


def not_in_set(k: Mapping[str, Any], frame: Frame) -> Masks:
    """Return the rows whose value is in a set."""
    column = frame.columns[k["column"]]
    return column.missing, _seen(column, _is_in(column, k["value_set"]))


def _is_in(column: Column, wanted: Sequence[Any]) -> Mask:
    kind = column.values.type
    if pa.types.is_string(kind) or pa.types.is_boolean(kind):
        return mask_of(pc.is_in(column.values, pa.array(wanted, kind)))
    unit = _unit(column)
    whole = [int(value) for value in map(unit, wanted) if value == value.to_integral_value() and abs(value) <= _HIGHEST]
    numbers = column.numbers
    return numbers == whole[0] if len(whole) == 1 else np.isin(numbers, whole)


def matches_regex(k: Mapping[str, Any], frame: Frame) -> Masks:
    """Return the rows whose text does not match a pattern."""
    column = frame.columns[k["column"]]
    return column.missing, ~_matches(column.written, k["regex"])


def matches_no_regex(k: Mapping[str, Any], frame: Frame) -> Masks:
    """Return the rows whose text matches a pattern."""
    column = frame.columns[k["column"]]
    return column.missing, _matches(column.written, k["regex"])


def matches_regexes(k: Mapping[str, Any], frame: Frame) -> Masks:
    """Return the rows whose text does not match any, or with ``match_on: all`` every, pattern of a list."""
    column = frame.columns[k["column"]]
    join = np.logical_and if k.get("match_on") == "all" else np.logical_or
    return column.missing, ~reduce(join, [_matches(column.written, regex) for regex in k["regex_list"]])


def matches_none_of_regexes(k: Mapping[str, Any], frame: Frame) -> Masks:
    """Return the rows whose text matches any pattern of a list."""
    column = frame.columns[k["column"]]
    return column.missing, reduce(np.logical_or, [_matches(column.written, regex) for regex in k["regex_list"]])


# Patterns that RE2 and Python's re interpret the same way, in text of printable ASCII.
_ALIKE = re.compile(r"(?:[^\\\[\]{}()]|\\[dwDWbB.+*?^$/|()\[\]{}\\-]|\[\^?\]?(?:[^\\\[\]]|\\[dwDW.\\\]^/-])*\]"
                    r"|\{\d+(?:,\d*)?\}|\((?:\?:)?|\))*")  # fmt: skip


def _matches(text: pa.Array, regex: str) -> Mask:
    """Search with the semantics of Python's re: by RE2 where both agree, else once per distinct value."""
    if _is_plain(text) and _ALIKE.fullmatch(regex):
        try:
            return mask_of(pc.fill_null(pc.match_substring_regex(text, regex), False))
        except pa.ArrowInvalid:
            pass
    pattern = re.compile(regex)
    return _per_value(text, lambda value: pattern.search(value) is not None)


def _is_plain(text: pa.Array) -> bool:
    """Return whether a text is printable ASCII only."""
    used, _ = letters(text)
    return not len(used) or bool(used.min() >= 0x20 and used.max() < 0x7F)


def _per_value(text: pa.Array, holds: Callable[[str], bool]) -> Mask:
    """Evaluate a predicate once per distinct value; False where the value is null."""
    encoded = text.dictionary_encode()
    answers = pa.array([holds(value) for value in encoded.dictionary.to_pylist()], pa.bool_())
    return mask_of(pc.fill_null(answers.take(encoded.indices), False))


def length_between(k: Mapping[str, Any], frame: Frame) -> Masks:
    """Return the rows whose text is too short or too long."""
    column = frame.columns[k["column"]]
    lengths = pc.fill_null(pc.utf8_length(column.written), 0).cast(pa.int64()).to_numpy(zero_copy_only=False)
    return column.missing, _outside(np.asarray(lengths), k, lambda value: Decimal(str(value)))


def length_equal(k: Mapping[str, Any], frame: Frame) -> Masks:
    """Return the rows whose text has another length."""
    return length_between({"column": k["column"], "min_value": k["value"], "max_value": k["value"]}, frame)


def parseable(k: Mapping[str, Any], frame: Frame) -> Masks:
    """Return the rows whose text cannot be parsed as a date."""
    column = frame.columns[k["column"]]
    if pa.types.is_temporal(column.values.type) and column.unfit is None:
        return column.missing, None
    return column.missing, ~_per_value(column.written, _reads_as_date)


def _reads_as_date(text: str) -> bool:
    from dateutil.parser import parse  # type: ignore[import-untyped]

    try:
        parse(text)
    except (ValueError, OverflowError):
        return False
    return True


def strftime(k: Mapping[str, Any], frame: Frame) -> Masks:
    """Return the rows whose text does not match a date format."""

    def holds(text: str) -> bool:
        try:
            datetime.strptime(text, k["strftime_format"])  # noqa: DTZ007 - only whether it fits
        except ValueError:
            return False
        return True

    column = frame.columns[k["column"]]
    return column.missing, ~_per_value(column.written, holds)


def pair_equal(k: Mapping[str, Any], frame: Frame) -> Masks:
    """Return the rows whose two values differ."""
    ignored, null = ignored_rows(k, frame, ("column_A", "column_B"))
    a, b = (frame.columns[k[name]] for name in ("column_A", "column_B"))
    if pa.types.is_string(a.values.type):
        return ignored, _or_null(~mask_of(pc.fill_null(pc.equal(a.values, b.values), False)), null)
    left, right = _aligned([a, b])
    return ignored, _or_null(left != right, null)


def pair_greater(k: Mapping[str, Any], frame: Frame) -> Masks:
    """Return the rows whose first value is not greater than the second."""
    ignored, null = ignored_rows(k, frame, ("column_A", "column_B"))
    a, b = (frame.columns[k[name]] for name in ("column_A", "column_B"))
    if pa.types.is_string(a.values.type):
        compare = pc.greater_equal if k.get("or_equal") else pc.greater
        return ignored, _or_null(~mask_of(pc.fill_null(compare(a.values, b.values), False)), null)
    left, right = _aligned([a, b])
    return ignored, _or_null(left < right if k.get("or_equal") else left <= right, null)


def all_differ(k: Mapping[str, Any], frame: Frame) -> Masks:
    """Return the rows that contain the same value twice."""
    ignored, _ = ignored_rows(k, frame, ("column_list",))
    columns = [frame.columns[name] for name in k["column_list"]]
    broken = np.zeros(frame.rows, bool)
    for number, a in enumerate(columns):
        for b in columns[number + 1 :]:
            broken |= _same(a, b)
    return ignored, broken


def _same(a: Column, b: Column) -> Mask:
    """Return where two columns are equal; null equals null."""
    null_a, null_b = (mask_of(column.values.is_null()) for column in (a, b))
    if pa.types.is_string(a.values.type):
        equal = mask_of(pc.fill_null(pc.equal(a.values, b.values), False))
    else:
        left, right = _aligned([a, b])
        equal = (left == right) & ~null_a & ~null_b
    return np.asarray(equal | (null_a & null_b))


def sum_equal(k: Mapping[str, Any], frame: Frame) -> Masks:
    """Return the rows whose values do not add up to ``sum_total``."""
    ignored, null = ignored_rows(k, frame, ("column_list",))
    columns = [frame.columns[name] for name in k["column_list"]]
    numbers = _aligned(columns, terms=len(columns))
    wanted = Decimal(str(k["sum_total"])).scaleb(max(column.scale for column in columns))
    broken = sum(numbers[1:], numbers[0]) != wanted if wanted == int(wanted) else np.ones(frame.rows, bool)
    return ignored, _or_null(np.asarray(broken, bool), null)


def product(k: Mapping[str, Any], frame: Frame) -> Masks:
    """Return the rows whose last value is not the rounded product of the others."""
    ignored, null = ignored_rows(k, frame, ("column_list",))
    *factors, total = [frame.columns[name] for name in k["column_list"]]
    numbers, scale = _product_of(factors, total.scale)
    difference = np.abs(total.numbers - _half_up(numbers, scale - total.scale))
    allowed = Decimal(str(k.get("tolerance") or 0)).scaleb(total.scale)
    return ignored, _or_null(np.asarray(difference > _whole(allowed, ROUND_FLOOR), bool), null)


def _product_of(factors: Sequence[Column], least: int) -> tuple[np.ndarray, int]:
    """Multiply columns; return the products and their digits after the point, at least ``least``."""
    shortest = [_without_zeros(column.numbers, column.scale) for column in factors]
    numbers, scale = [values for values, _ in shortest], sum(digits for _, digits in shortest)
    numbers[0] = _scaled(numbers[0], max(least - scale, 0))
    if reduce(lambda a, b: a * b, [_largest(values) for values in numbers]) > _HIGHEST // 4:
        numbers = [values.astype(object) for values in numbers]
    return reduce(lambda a, b: a * b, numbers), max(scale, least)


def _without_zeros(numbers: np.ndarray, scale: int) -> tuple[np.ndarray, int]:
    """Remove trailing digits that are 0 in all numbers, two at a time: most prices need two, most quantities none."""
    while scale >= 2 and not (numbers % 100).any():
        numbers, scale = numbers // 100, scale - 2
    return numbers, scale


def _half_up(numbers: np.ndarray, digits: int) -> np.ndarray:
    """Round off the last digits, halves away from zero."""
    if not digits:
        return numbers
    unit = 10**digits
    return np.asarray(np.sign(numbers) * ((np.abs(numbers) * 2 + unit) // (2 * unit)))


def ignored_rows(k: Mapping[str, Any], frame: Frame, names: Sequence[str]) -> Masks:
    """Return the rows that a rule of several columns skips, and the rows where any of its values is null."""
    columns = [name for key in names for name in (k[key] if key == "column_list" else [k[key]])]
    nulls = [frame.columns[name].null for name in columns]
    existing = [null for null in nulls if null is not None]
    if not existing:
        return None, None
    some = reduce(np.logical_or, existing)
    wanted = k.get("ignore_row_if") or ("both_values_are_missing" if len(names) > 1 else "all_values_are_missing")
    if wanted in ("either_value_is_missing", "any_value_is_missing"):
        return some, some
    if wanted in ("neither", "never") or len(existing) < len(nulls):
        return None, some
    return reduce(np.logical_and, existing), some


def _or_null(broken: Mask, null: Mask | None) -> Mask:
    return broken if null is None else broken | null


def _seen(column: Column, broken: Mask | None) -> Mask | None:
    """Exclude rows without a value, which the numbers represent as 0."""
    null = column.null
    return broken if null is None or broken is None else broken & ~null


def _aligned(columns: Sequence[Column], terms: int = 1) -> list[np.ndarray]:
    """Return the numbers of several columns in one unit, wide enough to add ``terms`` of them."""
    scale = max(column.scale for column in columns)
    numbers = [_scaled(column.numbers, scale - column.scale) for column in columns]
    if sum(_largest(values) for values in numbers) * terms > _HIGHEST:
        return [values.astype(object) for values in numbers]
    return numbers


def _scaled(numbers: np.ndarray, digits: int) -> np.ndarray:
    if digits and _largest(numbers) * 10**digits > _HIGHEST:
        numbers = numbers.astype(object)
    return numbers * 10**digits if digits else numbers


def _largest(numbers: np.ndarray) -> int:
    return max(abs(int(numbers.max())), abs(int(numbers.min()))) if len(numbers) else 0


def fulfils(condition: Mapping[str, Any] | None, frame: Frame) -> Mask:
    """Return which rows fulfil a row condition. Null is not equal to any value, and neither above nor below it."""
    assert condition
    if condition["type"] in ("and", "or"):
        join = np.logical_and if condition["type"] == "and" else np.logical_or
        return np.asarray(reduce(join, [fulfils(inner, frame) for inner in condition["conditions"]]))
    column = frame.columns[condition["column"]["name"]]
    null = np.zeros(frame.rows, bool) if column.null is None else column.null
    if condition["type"] == "nullity":
        return null if condition["is_null"] else ~null
    operator, value = condition["operator"], condition["parameter"]
    if operator in ("IN", "NOT_IN", "==", "!="):
        inside = _is_in(column, value if isinstance(value, list) else [value])
        return np.asarray(inside & ~null if operator in ("IN", "==") else ~inside | null)
    key = "min_value" if operator in (">", ">=") else "max_value"
    k = {key: value, f"strict_{key[:3]}": operator in (">", "<")}
    text = pa.types.is_string(column.values.type)
    outside = _text_outside(column.values, k) if text else _outside(column.numbers, k, _unit(column))
    return np.asarray(~outside & ~null) if outside is not None else ~null
