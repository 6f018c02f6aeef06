"""Measure rules on blocks of rows, and put the measures of blocks together: exact, whatever the borders of blocks.

Great Expectations judges; here is counted what it asks for. A measure is a monoid: counts and sums add, extremes
fold, samples concatenate in the order of rows and are cut, keys meet by their hash.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import cached_property, reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marts.privacy.masking import mask_value
from marts.quality.rules import (
    FITS,
    KNOWN,
    NOT_NULL,
    PRODUCT,
    UNIQUE,
    UNIQUE_TOGETHER,
    WELL_FORMED,
    Rule,
    condition_columns,
)
from marts.rows.buffers import letters
from marts.rows.hashing import among, hash_rows, repeated

SAMPLES = 20
"""Values that break a rule, of which Great Expectations shows a part."""
_SHOWN, _LOOKED_AT = 80, 1000
"""Characters of a value that are shown, and that are looked at before."""
_CARD = 10**12
"""Numbers from here on may be those of cards."""
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
_EPOCH = date(1970, 1, 1)

Mask = np.ndarray
Value = int | str | None
Sample = tuple[int, tuple[Value, ...]]
"""A row, counted from the start of what was measured, and the values of the rule's columns there, masked."""


@dataclass(frozen=True)
class Measure:
    """What was found for one rule."""

    rows: int | None = None
    """Rows that fulfil the rule's row condition; all rows of the drop if None."""
    missing: int = 0
    """Of these, rows that the rule does not look at: a value is missing."""
    unexpected: int = 0
    """Of the others, rows that break it."""
    samples: tuple[Sample, ...] = ()
    low: Value = None
    """The least value: a date as text, or a number in units of the column's last digit."""
    high: Value = None
    total: int = 0
    """Sum, in units of the column's last digit."""
    scale: int = 0
    """Digits after the point of that column."""
    distinct: int = 0


_NOTHING = Measure()


@dataclass(frozen=True)
class Measured:
    """What was found for all rules of a suite, in a block or a drop."""

    rows: int = 0
    """Rows that have the right number of fields."""
    malformed: int = 0
    columns: tuple[str, ...] = ()
    """The header."""
    rules: Mapping[str, Measure] = field(default_factory=dict)
    """By the rule's id; a rule that is not there held for each row."""

    def found(self, rule: Rule) -> tuple[Measure, int]:
        """Give what was found for a rule, and the rows that it is about."""
        made = self.rules.get(rule.id, _NOTHING)
        return made, self.rows if made.rows is None else made.rows

    def of(self, rule: Rule) -> Measure:
        """Give the measure of a rule, with its rows."""
        made, rows = self.found(rule)
        return replace(made, rows=rows)


def without_samples(measured: Measured) -> Measured:
    """Keep what was counted, and no value."""
    bare = {name: replace(one, samples=(), low=None, high=None) for name, one in measured.rules.items()}
    return replace(measured, rules=bare)


@dataclass(frozen=True)
class Column:
    """One column of a block."""

    values: pa.Array
    """Typed: int64 (of the last digit if it has ``scale``), date32, string or bool. Null where empty or unfit."""
    scale: int = 0
    """Digits after the point."""
    text: pa.Array | None = None
    """As written in the file; made from the values if None."""
    unfit: Mask | None = None
    """Values that are not as the schema says."""
    personal: bool = False

    @property
    def written(self) -> pa.Array:
        if self.text is not None:
            return self.text
        if pa.types.is_string(self.values.type):
            return self.values
        values = [None if v is None else str(_as_written(v, self.scale)) for v in self.values.to_pylist()]
        return pa.array(values, pa.string())

    @cached_property
    def numbers(self) -> np.ndarray:
        """Numbers, or days since 1970; 0 where null."""
        values = self.values.cast(pa.int32()) if pa.types.is_date32(self.values.type) else self.values
        filled = values.cast(pa.int64()).fill_null(0) if values.null_count else values.cast(pa.int64())
        return np.asarray(filled.to_numpy(zero_copy_only=False))

    @cached_property
    def null(self) -> Mask | None:
        """Where there is no value that could be looked at."""
        return _mask(self.values.is_null()) if self.values.null_count else None

    @cached_property
    def missing(self) -> Mask | None:
        """Where nothing is written: an unfit value is there, and breaks its own rule."""
        null = self.null
        if null is None or self.unfit is None:
            return null
        left = null & ~self.unfit
        return left if left.any() else None

    def show(self, row: int) -> Value:
        """Show the value of a row: masked, as it is written if it could not be read."""
        value = self.values[row].as_py()
        if value is None and self.text is not None:
            value = self.text[row].as_py()
        if isinstance(value, int) and not isinstance(value, bool) and self.scale:
            return str(_as_written(value, self.scale))
        if value is None:
            return None
        if type(value) is int and abs(value) < _CARD:
            return int(value)
        return mask_value(str(value)[:_LOOKED_AT], self.personal)[:_SHOWN]

    def written_at(self, row: int) -> str:
        """Give what is written in a row, masked; nothing if it is empty."""
        text = self.text[row].as_py() if self.text is not None else None
        return mask_value(text[:_LOOKED_AT], self.personal)[:_SHOWN] if text else ""


@dataclass(frozen=True)
class Frame:
    """A block of rows, by column."""

    rows: int
    columns: Mapping[str, Column]
    header: tuple[str, ...] = ()


@dataclass(frozen=True)
class Keys:
    """The keys of a block's rows: for rules that need to know whether a key is there twice."""

    rule: Rule
    rows: np.ndarray
    """Where they are, counted from the start of the block."""
    hashes: np.ndarray
    values: pa.Table


@dataclass(frozen=True)
class Findings:
    """A block, measured."""

    measured: Measured
    broken: tuple[tuple[Rule, Mask], ...]
    """Rows that break each row rule."""
    keys: tuple[Keys, ...]


def measure(rules: Sequence[Rule], frame: Frame) -> Findings:
    """Measure all rules on a block. Keys are not settled: see `settle`."""
    found: dict[str, Measure] = {}
    broken: list[tuple[Rule, Mask]] = []
    keys: list[Keys] = []
    for rule in rules:
        within = _fulfils(rule.condition, frame) if rule.condition else None
        if rule.level == "row":
            made, mask = _measure_rows(rule, frame, within)
            if mask is not None:
                broken.append((rule, mask))
        elif rule.level == "key":
            made, key = _measure_keys(rule, frame, within)
            keys.append(key)
        elif rule.level == "drop":
            made = _measure_whole(rule, frame, within)
        else:
            continue
        if made != Measure():
            found[rule.id] = made
    return Findings(Measured(frame.rows, 0, frame.header, found), tuple(broken), tuple(keys))


def merge(parts: Sequence[Measured]) -> Measured:
    """Put the measures of the blocks of one drop together, or the row rules of several drops."""
    if len(parts) == 1:
        return parts[0]
    names = sorted({name for part in parts for name in part.rules})
    rules = {name: _merge([(part.rules.get(name, Measure()), part.rows) for part in parts]) for name in names}
    columns = next((part.columns for part in parts if part.columns), ())
    return Measured(sum(p.rows for p in parts), sum(p.malformed for p in parts), columns, rules)


def _merge(parts: Sequence[tuple[Measure, int]]) -> Measure:
    """Add up the measures of one rule; each comes with the rows of its block."""
    before = np.cumsum([0, *(rows for _, rows in parts)]).tolist()
    samples = [
        (row + start, values) for (made, _), start in zip(parts, before, strict=False) for row, values in made.samples
    ]
    conditional = any(made.rows is not None for made, _ in parts)
    return Measure(
        rows=sum(rows if made.rows is None else made.rows for made, rows in parts) if conditional else None,
        missing=sum(made.missing for made, _ in parts),
        unexpected=sum(made.unexpected for made, _ in parts),
        samples=tuple(samples[:SAMPLES]),
        low=_fold([made.low for made, _ in parts], least=True),
        high=_fold([made.high for made, _ in parts], least=False),
        total=sum(made.total for made, _ in parts),
        scale=max(made.scale for made, _ in parts),
        distinct=sum(made.distinct for made, _ in parts),
    )


def _fold(values: Sequence[Value], least: bool) -> Value:
    there: list[Any] = [value for value in values if value is not None]
    folded: Value = (min if least else max)(there) if there else None
    return folded


def _measure_rows(rule: Rule, frame: Frame, within: Mask | None) -> tuple[Measure, Mask | None]:
    ignored, broken = _ROWS[rule.type](rule.kwargs, frame)
    rows = None
    if within is not None:
        rows = int(within.sum())
        ignored, broken = (None if mask is None else mask & within for mask in (ignored, broken))
    if broken is not None and ignored is not None:
        broken = broken & ~ignored
    missing = 0 if ignored is None else int(ignored.sum())
    unexpected = 0 if broken is None else int(broken.sum())
    if not unexpected or broken is None:
        return Measure(rows, missing), None
    places = np.flatnonzero(broken)[:SAMPLES].tolist()
    return Measure(rows, missing, unexpected, _samples(rule, frame, places)), broken


def _samples(rule: Rule, frame: Frame, places: Sequence[int]) -> tuple[Sample, ...]:
    columns = [frame.columns[name] for name in rule.columns]
    return tuple((place, tuple(column.show(place) for column in columns)) for place in places)


# Row rules: rows that are not looked at, and rows that break the rule.
Masks = tuple[Mask | None, Mask | None]
_ROWS: dict[str, Callable[[Mapping[str, Any], Frame], Masks]] = {}


def _row_rule(name: str) -> Callable[[Callable[[Mapping[str, Any], Frame], Masks]], Any]:
    def register(function: Callable[[Mapping[str, Any], Frame], Masks]) -> Any:
        _ROWS[f"expect_{name}"] = function
        return function

    return register


@_row_rule(FITS.removeprefix("expect_"))
def _fits(k: Mapping[str, Any], frame: Frame) -> Masks:
    column = frame.columns[k["column"]]
    return column.missing, column.unfit


@_row_rule(NOT_NULL.removeprefix("expect_"))
def _not_null(k: Mapping[str, Any], frame: Frame) -> Masks:
    return None, frame.columns[k["column"]].missing


@_row_rule("column_values_to_be_null")
def _null(k: Mapping[str, Any], frame: Frame) -> Masks:
    missing = frame.columns[k["column"]].missing
    return None, np.ones(frame.rows, bool) if missing is None else ~missing


@_row_rule("column_values_to_be_between")
def _between(k: Mapping[str, Any], frame: Frame) -> Masks:
    column = frame.columns[k["column"]]
    return column.missing, _seen(column, _outside(column.numbers, k, _unit(column)))


def _outside(numbers: np.ndarray, k: Mapping[str, Any], unit: Callable[[Any], Decimal]) -> Mask | None:
    """Tell where numbers are outside of bounds that need not be whole in their unit."""
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
    """Compare with a bound of any size."""
    if below:
        return np.full(len(numbers), bound > _HIGHEST) if not _LOWEST <= bound <= _HIGHEST else numbers < bound
    return np.full(len(numbers), bound < _LOWEST) if not _LOWEST <= bound <= _HIGHEST else numbers > bound


def _text_outside(values: pa.Array, k: Mapping[str, Any]) -> Mask | None:
    masks = []
    if k.get("min_value") is not None:
        masks.append((pc.less_equal if k.get("strict_min") else pc.less)(values, k["min_value"]))
    if k.get("max_value") is not None:
        masks.append((pc.greater_equal if k.get("strict_max") else pc.greater)(values, k["max_value"]))
    return reduce(np.logical_or, [_mask(pc.fill_null(mask, False)) for mask in masks])


def _unit(column: Column) -> Callable[[Any], Decimal]:
    """Turn a bound into the unit of a column: its last digit, or days since 1970."""
    if pa.types.is_date32(column.values.type):
        return lambda value: Decimal((date.fromisoformat(value) - _EPOCH).days)
    return lambda value: Decimal(str(value)).scaleb(column.scale)


@_row_rule("column_values_to_be_in_set")
def _in_set(k: Mapping[str, Any], frame: Frame) -> Masks:
    column = frame.columns[k["column"]]
    return column.missing, _seen(column, ~_is_in(column, k["value_set"]))


@_row_rule("column_values_to_not_be_in_set")
def _not_in_set(k: Mapping[str, Any], frame: Frame) -> Masks:
    column = frame.columns[k["column"]]
    return column.missing, _seen(column, _is_in(column, k["value_set"]))


def _is_in(column: Column, wanted: Sequence[Any]) -> Mask:
    kind = column.values.type
    if pa.types.is_string(kind) or pa.types.is_boolean(kind):
        return _mask(pc.is_in(column.values, pa.array(wanted, kind)))
    unit = _unit(column)
    whole = [int(value) for value in map(unit, wanted) if value == value.to_integral_value() and abs(value) <= _HIGHEST]
    numbers = column.numbers
    return numbers == whole[0] if len(whole) == 1 else np.isin(numbers, whole)


@_row_rule("column_values_to_match_regex")
def _match(k: Mapping[str, Any], frame: Frame) -> Masks:
    column = frame.columns[k["column"]]
    return column.missing, ~_matches(column.written, k["regex"])


@_row_rule("column_values_to_not_match_regex")
def _not_match(k: Mapping[str, Any], frame: Frame) -> Masks:
    column = frame.columns[k["column"]]
    return column.missing, _matches(column.written, k["regex"])


@_row_rule("column_values_to_match_regex_list")
def _match_list(k: Mapping[str, Any], frame: Frame) -> Masks:
    column = frame.columns[k["column"]]
    join = np.logical_and if k.get("match_on") == "all" else np.logical_or
    return column.missing, ~reduce(join, [_matches(column.written, regex) for regex in k["regex_list"]])


@_row_rule("column_values_to_not_match_regex_list")
def _not_match_list(k: Mapping[str, Any], frame: Frame) -> Masks:
    column = frame.columns[k["column"]]
    return column.missing, reduce(np.logical_or, [_matches(column.written, regex) for regex in k["regex_list"]])


# What RE2 and Python's re understand alike, in text of printable ASCII.
_ALIKE = re.compile(r"(?:[^\\\[\]{}()]|\\[dwDWbB.+*?^$/|()\[\]{}\\-]|\[\^?\]?(?:[^\\\[\]]|\\[dwDW.\\\]^/-])*\]"
                    r"|\{\d+(?:,\d*)?\}|\((?:\?:)?|\))*")  # fmt: skip


def _matches(text: pa.Array, regex: str) -> Mask:
    """Search as Python's re does. By RE2 where both mean the same, else once per distinct value."""
    if _is_plain(text) and _ALIKE.fullmatch(regex):
        try:
            return _mask(pc.fill_null(pc.match_substring_regex(text, regex), False))
        except pa.ArrowInvalid:
            pass
    pattern = re.compile(regex)
    return _per_value(text, lambda value: pattern.search(value) is not None)


def _is_plain(text: pa.Array) -> bool:
    """Tell whether a text is printable ASCII only."""
    used, _ = letters(text)
    return not len(used) or bool(used.min() >= 0x20 and used.max() < 0x7F)


def _per_value(text: pa.Array, holds: Callable[[str], bool]) -> Mask:
    """Ask once per distinct value; False where there is none."""
    encoded = text.dictionary_encode()
    answers = pa.array([holds(value) for value in encoded.dictionary.to_pylist()], pa.bool_())
    return _mask(pc.fill_null(answers.take(encoded.indices), False))


@_row_rule("column_value_lengths_to_be_between")
def _length(k: Mapping[str, Any], frame: Frame) -> Masks:
    column = frame.columns[k["column"]]
    lengths = pc.fill_null(pc.utf8_length(column.written), 0).cast(pa.int64()).to_numpy(zero_copy_only=False)
    return column.missing, _outside(np.asarray(lengths), k, lambda value: Decimal(str(value)))


@_row_rule("column_value_lengths_to_equal")
def _length_equal(k: Mapping[str, Any], frame: Frame) -> Masks:
    return _length({"column": k["column"], "min_value": k["value"], "max_value": k["value"]}, frame)  # type: ignore[no-any-return]


@_row_rule("column_values_to_be_dateutil_parseable")
def _parseable(k: Mapping[str, Any], frame: Frame) -> Masks:
    column = frame.columns[k["column"]]
    if pa.types.is_date32(column.values.type) and column.unfit is None:
        return column.missing, None
    return column.missing, ~_per_value(column.written, _reads_as_date)


def _reads_as_date(text: str) -> bool:
    from dateutil.parser import parse  # type: ignore[import-untyped]

    try:
        parse(text)
    except (ValueError, OverflowError):
        return False
    return True


@_row_rule("column_values_to_match_strftime_format")
def _strftime(k: Mapping[str, Any], frame: Frame) -> Masks:
    def holds(text: str) -> bool:
        try:
            datetime.strptime(text, k["strftime_format"])  # noqa: DTZ007 - only whether it fits
        except ValueError:
            return False
        return True

    column = frame.columns[k["column"]]
    return column.missing, ~_per_value(column.written, holds)


@_row_rule("column_pair_values_to_be_equal")
def _pair_equal(k: Mapping[str, Any], frame: Frame) -> Masks:
    ignored, null = _ignored(k, frame, ("column_A", "column_B"))
    a, b = (frame.columns[k[name]] for name in ("column_A", "column_B"))
    if pa.types.is_string(a.values.type):
        return ignored, _or_null(~_mask(pc.fill_null(pc.equal(a.values, b.values), False)), null)
    left, right = _aligned([a, b])
    return ignored, _or_null(left != right, null)


@_row_rule("column_pair_values_a_to_be_greater_than_b")
def _pair_greater(k: Mapping[str, Any], frame: Frame) -> Masks:
    ignored, null = _ignored(k, frame, ("column_A", "column_B"))
    a, b = (frame.columns[k[name]] for name in ("column_A", "column_B"))
    if pa.types.is_string(a.values.type):
        compare = pc.greater_equal if k.get("or_equal") else pc.greater
        return ignored, _or_null(~_mask(pc.fill_null(compare(a.values, b.values), False)), null)
    left, right = _aligned([a, b])
    return ignored, _or_null(left < right if k.get("or_equal") else left <= right, null)


@_row_rule("select_column_values_to_be_unique_within_record")
def _all_differ(k: Mapping[str, Any], frame: Frame) -> Masks:
    ignored, _ = _ignored(k, frame, ("column_list",))
    columns = [frame.columns[name] for name in k["column_list"]]
    broken = np.zeros(frame.rows, bool)
    for number, a in enumerate(columns):
        for b in columns[number + 1 :]:
            broken |= _same(a, b)
    return ignored, broken


def _same(a: Column, b: Column) -> Mask:
    """Tell where two columns are equal; empty equals empty."""
    null_a, null_b = (_mask(column.values.is_null()) for column in (a, b))
    if pa.types.is_string(a.values.type):
        equal = _mask(pc.fill_null(pc.equal(a.values, b.values), False))
    else:
        left, right = _aligned([a, b])
        equal = (left == right) & ~null_a & ~null_b
    return np.asarray(equal | (null_a & null_b))


@_row_rule("multicolumn_sum_to_equal")
def _sum_equal(k: Mapping[str, Any], frame: Frame) -> Masks:
    ignored, null = _ignored(k, frame, ("column_list",))
    columns = [frame.columns[name] for name in k["column_list"]]
    numbers = _aligned(columns, terms=len(columns))
    wanted = Decimal(str(k["sum_total"])).scaleb(max(column.scale for column in columns))
    broken = sum(numbers[1:], numbers[0]) != wanted if wanted == int(wanted) else np.ones(frame.rows, bool)
    return ignored, _or_null(np.asarray(broken, bool), null)


@_row_rule(PRODUCT.removeprefix("expect_"))
def _product(k: Mapping[str, Any], frame: Frame) -> Masks:
    ignored, null = _ignored(k, frame, ("column_list",))
    *factors, total = [frame.columns[name] for name in k["column_list"]]
    numbers, scale = _product_of(factors, total.scale)
    difference = np.abs(total.numbers - _half_up(numbers, scale - total.scale))
    allowed = Decimal(str(k.get("tolerance") or 0)).scaleb(total.scale)
    return ignored, _or_null(np.asarray(difference > _whole(allowed, ROUND_FLOOR), bool), null)


def _product_of(factors: Sequence[Column], least: int) -> tuple[np.ndarray, int]:
    """Multiply columns; give the products and their digits after the point, at least ``least``."""
    shortest = [_without_zeros(column.numbers, column.scale) for column in factors]
    numbers, scale = [values for values, _ in shortest], sum(digits for _, digits in shortest)
    numbers[0] = _scaled(numbers[0], max(least - scale, 0))
    if reduce(lambda a, b: a * b, [_largest(values) for values in numbers]) > _HIGHEST // 4:
        numbers = [values.astype(object) for values in numbers]
    return reduce(lambda a, b: a * b, numbers), max(scale, least)


def _without_zeros(numbers: np.ndarray, scale: int) -> tuple[np.ndarray, int]:
    """Take digits that are 0 in all numbers away, two at once: most prices have two digits, most quantities none."""
    while scale >= 2 and not (numbers % 100).any():
        numbers, scale = numbers // 100, scale - 2
    return numbers, scale


def _half_up(numbers: np.ndarray, digits: int) -> np.ndarray:
    """Round away the last digits, halves away from zero."""
    if not digits:
        return numbers
    unit = 10**digits
    return np.asarray(np.sign(numbers) * ((np.abs(numbers) * 2 + unit) // (2 * unit)))


def _ignored(k: Mapping[str, Any], frame: Frame, names: Sequence[str]) -> Masks:
    """Give the rows that a rule of several columns does not look at, and those where one of its values is null."""
    columns = [name for key in names for name in (k[key] if key == "column_list" else [k[key]])]
    nulls = [frame.columns[name].null for name in columns]
    there = [null for null in nulls if null is not None]
    if not there:
        return None, None
    some = reduce(np.logical_or, there)
    wanted = k.get("ignore_row_if") or ("both_values_are_missing" if len(names) > 1 else "all_values_are_missing")
    if wanted in ("either_value_is_missing", "any_value_is_missing"):
        return some, some
    if wanted in ("neither", "never") or len(there) < len(nulls):
        return None, some
    return reduce(np.logical_and, there), some


def _or_null(broken: Mask, null: Mask | None) -> Mask:
    return broken if null is None else broken | null


def _seen(column: Column, broken: Mask | None) -> Mask | None:
    """Leave out rows without a value: 0 stands for it in the numbers."""
    null = column.null
    return broken if null is None or broken is None else broken & ~null


def _aligned(columns: Sequence[Column], terms: int = 1) -> list[np.ndarray]:
    """Give numbers of several columns in one unit, wide enough to add ``terms`` of them."""
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


def _fulfils(condition: Mapping[str, Any] | None, frame: Frame) -> Mask:
    """Tell which rows fulfil a row condition. Nothing is not equal to a value, and neither above nor below it."""
    assert condition
    if condition["type"] in ("and", "or"):
        join = np.logical_and if condition["type"] == "and" else np.logical_or
        return np.asarray(reduce(join, [_fulfils(inner, frame) for inner in condition["conditions"]]))
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


def _measure_whole(rule: Rule, frame: Frame, within: Mask | None) -> Measure:
    """Measure a rule about the drop as a whole."""
    rows = None if within is None else int(within.sum())
    if "column" not in rule.kwargs or rule.type in ("expect_column_to_exist", "expect_column_values_to_be_of_type"):
        return Measure(rows)
    column = frame.columns[rule.kwargs["column"]]
    null = column.missing if rule.type.endswith("non_null_values_to_be_between") else column.null
    if within is not None:
        null = None if null is None else null & within
    made = Measure(rows, 0 if null is None else int(null.sum()))
    keep = np.ones(frame.rows, bool) if within is None else within
    if column.null is not None:
        keep = keep & ~column.null
    if not keep.any() or rule.type.endswith("non_null_values_to_be_between"):
        return made
    numbers = column.numbers if keep.all() else column.numbers[keep]
    low, high = int(numbers.min()), int(numbers.max())
    total = (int((numbers >> 32).sum()) << 32) + int((numbers & 0xFFFFFFFF).sum())
    if pa.types.is_date32(column.values.type):
        days = [str(_EPOCH + timedelta(days=number)) for number in (low, high)]
        return replace(made, low=days[0], high=days[1])
    return replace(made, low=low, high=high, total=total, scale=column.scale)


def _measure_keys(rule: Rule, frame: Frame, within: Mask | None) -> tuple[Measure, Keys]:
    """Hash the keys of a block."""
    columns = {name: frame.columns[name] for name in rule.columns}
    if rule.type == UNIQUE_TOGETHER:
        ignored, _ = _ignored(rule.kwargs, frame, ("column_list",))
    else:
        ignored = next(iter(columns.values())).null
    rows = None
    if within is not None:
        rows = int(within.sum())
        ignored = None if ignored is None else ignored & within
    looked_at = np.ones(frame.rows, bool) if within is None else within
    if ignored is not None:
        looked_at = looked_at & ~ignored
    table = pa.table({name: column.values for name, column in columns.items()})
    if not looked_at.all():
        table = table.filter(pa.array(looked_at))
    hashes = hash_rows(table) if table.num_rows else np.empty(0, np.uint64)
    made = Measure(rows, 0 if ignored is None else int(ignored.sum()))
    return made, Keys(rule, np.flatnonzero(looked_at), hashes, table)


def settle(parts: Sequence[Keys], frame: Mapping[str, tuple[int, bool]]) -> Measure:
    """Find the keys that are there twice. Rows whose hash is there once are not looked at again.

    ``frame`` gives digits after the point, and whether it is personal, of each column. Counts only: rows and missing
    of the measure are those of `measure`.
    """
    hashes = np.concatenate([np.empty(0, np.uint64), *(part.hashes for part in parts)])
    twice = repeated(hashes)
    if not len(twice):
        return Measure(distinct=len(hashes))
    tables, places = [], []
    for part in parts:
        mine = among(part.hashes, twice)
        tables.append(part.values.filter(pa.array(mine)))
        places.append(part.rows[mine])
    keys = pa.concat_tables(tables)
    rows = np.concatenate(places)
    names = keys.column_names
    numbered = keys.append_column("#", pa.array(np.arange(keys.num_rows)))
    groups = numbered.group_by(names, use_threads=False).aggregate([("#", "count"), ("#", "list")])
    counts = groups["#_count"].to_numpy()
    again = groups.filter(pa.array(counts > 1))
    distinct = len(hashes) - int((counts - 1).sum())
    if not again.num_rows:
        return Measure(distinct=distinct)
    members = np.sort(pc.list_flatten(again["#_list"]).to_numpy())
    first = members[np.argsort(rows[members], kind="stable")][:SAMPLES]
    shown = {
        name: Column(keys[name].combine_chunks(), scale, personal=personal)
        for name, (scale, personal) in frame.items()
        if name in names
    }
    samples = tuple((int(rows[place]), tuple(shown[name].show(int(place)) for name in names)) for place in first)
    return Measure(unexpected=len(members), samples=samples, distinct=distinct)


def with_keys(measured: Measured, found: Mapping[str, Measure]) -> Measured:
    """Add what `settle` found, by rule."""
    rules = dict(measured.rules)
    for name, made in found.items():
        before = rules.get(name, Measure())
        rules[name] = replace(before, unexpected=made.unexpected, samples=made.samples, distinct=made.distinct)
    return replace(measured, rules=rules)


def add_up(parts: Sequence[Measure]) -> Measure:
    """Put the settled keys of several ranges of hashes together."""
    samples = sorted((sample for part in parts for sample in part.samples), key=lambda sample: sample[0])[:SAMPLES]
    unexpected, distinct = sum(part.unexpected for part in parts), sum(part.distinct for part in parts)
    return Measure(unexpected=unexpected, samples=tuple(samples), distinct=distinct)


def holds(rule: Rule, measured: Measured) -> bool:
    """Tell whether a drop keeps a rule, as Great Expectations would."""
    if rule.level == "row" and rule.id not in measured.rules:
        return True
    made, rows = measured.found(rule)
    k = rule.kwargs
    if rule.type == WELL_FORMED:
        return _share_holds(measured.rows + measured.malformed, measured.malformed, rule.mostly)
    if rule.level == "row" or rule.type in (UNIQUE, UNIQUE_TOGETHER):
        return _share_holds(rows - made.missing, made.unexpected, rule.mostly)
    if rule.type == KNOWN:
        return True
    return _whole_holds(rule.type, k, observed(rule, measured))


def _share_holds(rows: int, unexpected: int, mostly: float) -> bool:
    return not rows or (float(rows) - float(unexpected)) / float(rows) >= mostly


def observed(rule: Rule, measured: Measured) -> Any:
    """Give the value that a rule about the whole drop looks at; None if there is none."""
    made, rows = measured.found(rule)
    there = rows - made.missing
    name = rule.type.removeprefix("expect_").removesuffix("_to_be_between")
    if name.startswith("table_row_count"):
        return rows
    if name.startswith("table_column_count"):
        return len(measured.columns)
    if name.startswith("table_columns") or name == "column_to_exist":
        return list(measured.columns)
    match name:
        case "column_min" | "column_max":
            value = made.low if name == "column_min" else made.high
            return Decimal(value).scaleb(-made.scale) if isinstance(value, int) and made.scale else value
        case "column_sum":
            return Decimal(made.total).scaleb(-made.scale) if made.scale else made.total
        case "column_mean":
            return float(Decimal(made.total).scaleb(-made.scale) / there) if there else None
        case "column_unique_value_count":
            return made.distinct
        case "column_proportion_of_unique_values":
            return made.distinct / there if there else 0
        case "column_proportion_of_non_null_values":
            return there / rows if rows else 0
    return None


def _whole_holds(type_: str, k: Mapping[str, Any], value: Any) -> bool:
    match type_.removeprefix("expect_"):
        case "table_row_count_to_equal" | "table_column_count_to_equal":
            return bool(value == k["value"])
        case "table_columns_to_match_set":
            wanted = set(k["column_set"])
            return wanted <= set(value) if k.get("exact_match", True) is False else wanted == set(value)
        case "table_columns_to_match_ordered_list":
            return bool(value == list(k["column_list"]))
        case "column_to_exist":
            return k["column"] in value
        case "column_values_to_be_of_type":
            return True  # checked when the suite is read: types are the schema's
    if value is None:
        return False
    low, high = k.get("min_value"), k.get("max_value")
    if not isinstance(value, str):
        value, low, high = (None if bound is None else Decimal(str(bound)) for bound in (value, low, high))
    return not (
        (low is not None and (value <= low if k.get("strict_min") else value < low))
        or (high is not None and (value >= high if k.get("strict_max") else value > high))
    )


def last_digits(values: pa.Array) -> pa.Array:
    """View a decimal of at most 18 digits as a whole number of its last digit: the low 8 of its 16 bytes."""
    low = np.frombuffer(values.buffers()[1], np.int64)[::2][values.offset : values.offset + len(values)]
    return pa.array(low, mask=_mask(values.is_null()) if values.null_count else None)


def needed_columns(rules: Iterable[Rule]) -> set[str]:
    """Name the columns that rules look at."""
    return {name for rule in rules for name in (*rule.columns, *condition_columns(rule.condition))}


def _mask(values: pa.Array) -> Mask:
    return np.asarray(values.to_numpy(zero_copy_only=False), bool)


def _as_written(value: Any, scale: int) -> Any:
    if not scale or not isinstance(value, int):
        return value
    while scale > 2 and value % 10 == 0:  # zeros beyond those of money say nothing
        value, scale = value // 10, scale - 1
    return Decimal(value).scaleb(-scale)
