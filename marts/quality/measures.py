"""Measure rules on blocks of rows and merge the measures: the result is exact for any block borders.

Great Expectations judges; this module computes the counts it needs. A measure is a monoid: counts and sums add,
extremes fold, samples concatenate in row order and are cut, keys are matched by hash.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from marts.quality.findings import Findings, Keys, Measured
from marts.quality.key_measures import measure_keys
from marts.quality.row_measures import EPOCH, MIDNIGHT, fulfils
from marts.quality.rule_types import EXTREMES, OF_TYPE, RULE_TYPES
from marts.quality.rules import Rule, condition_columns
from marts.quality.values import SAMPLES, Measure, Sample
from marts.rows.columns import Frame, Mask, Value


def measure(rules: Sequence[Rule], frame: Frame) -> Findings:
    """Measure all rules on a block. Duplicate keys are not resolved here: see `settle`."""
    results: dict[str, Measure] = {}
    broken: list[tuple[Rule, Mask]] = []
    keys: list[Keys] = []
    for rule in rules:
        within = fulfils(rule.condition, frame) if rule.condition else None
        if rule.level == "row":
            built, mask = _measure_rows(rule, frame, within)
            if mask is not None:
                broken.append((rule, mask))
        elif rule.level == "key":
            built, key = measure_keys(rule, frame, within)
            keys.append(key)
        elif rule.level == "drop":
            built = _measure_whole(rule, frame, within)
        else:
            continue
        if built != Measure():
            results[rule.id] = built
    return Findings(Measured(frame.rows, 0, frame.header, results), tuple(broken), tuple(keys))


def merge(parts: Sequence[Measured]) -> Measured:
    """Merge the measures of the blocks of one drop, or of the row rules of several drops."""
    if len(parts) == 1:
        return parts[0]
    names = sorted({name for part in parts for name in part.rules})
    rules = {name: _merge([(part.rules.get(name, Measure()), part.rows) for part in parts]) for name in names}
    columns = next((part.columns for part in parts if part.columns), ())
    return Measured(sum(p.rows for p in parts), sum(p.malformed for p in parts), columns, rules)


def exchanged(before: Measured, removed: Measured, added: Measured, rules: Sequence[Rule]) -> Measured | None:
    """Return the measures of rows from those before, without some of them and with others.

    None if that cannot be derived: a row breaks a rule about rows, so that samples are needed, or a removed row has the
    least or greatest value of a rule about these.
    """
    results = {}
    for rule in rules:
        was, less, more = (side.rules.get(rule.id, Measure()) for side in (before, removed, added))
        if was.unexpected or more.unexpected:
            return None
        least = _fold([was.low, more.low], least=True)
        greatest = _fold([was.high, more.high], least=False)
        lost = (less.low == was.low and more.low != least) or (less.high == was.high and more.high != greatest)
        if rule.type in EXTREMES and less.low is not None and lost:
            return None
        conditional = any(side.rows is not None for side in (was, less, more))
        built = Measure(
            rows=(was.rows or 0) - (less.rows or 0) + (more.rows or 0) if conditional else None,
            missing=was.missing - less.missing + more.missing,
            low=least,
            high=greatest,
            total=was.total - less.total + more.total,
            scale=was.scale or more.scale,
            distinct=was.distinct - less.distinct + more.distinct,
        )
        if built != Measure():
            results[rule.id] = built
    return Measured(before.rows - removed.rows + added.rows, 0, before.columns, results)


def _merge(parts: Sequence[tuple[Measure, int]]) -> Measure:
    """Merge the measures of one rule; each is paired with the number of rows in its block."""
    before = np.cumsum([0, *(rows for _, rows in parts)]).tolist()
    samples = [
        (row + start, values) for (built, _), start in zip(parts, before, strict=False) for row, values in built.samples
    ]
    conditional = any(built.rows is not None for built, _ in parts)
    return Measure(
        rows=sum(rows if built.rows is None else built.rows for built, rows in parts) if conditional else None,
        missing=sum(built.missing for built, _ in parts),
        unexpected=sum(built.unexpected for built, _ in parts),
        samples=tuple(samples[:SAMPLES]),
        low=_fold([built.low for built, _ in parts], least=True),
        high=_fold([built.high for built, _ in parts], least=False),
        total=sum(built.total for built, _ in parts),
        scale=max(built.scale for built, _ in parts),
        distinct=sum(built.distinct for built, _ in parts),
    )


def _fold(values: Sequence[Value], least: bool) -> Value:
    existing: list[Any] = [value for value in values if value is not None]
    folded: Value = (min if least else max)(existing) if existing else None
    return folded


def _measure_rows(rule: Rule, frame: Frame, within: Mask | None) -> tuple[Measure, Mask | None]:
    rows_of = RULE_TYPES[rule.type].rows
    assert rows_of, f"{rule.type} is not a row rule"
    ignored, broken = rows_of(rule.kwargs, frame)
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


def _measure_whole(rule: Rule, frame: Frame, within: Mask | None) -> Measure:
    """Measure a rule about the whole drop."""
    rows = None if within is None else int(within.sum())
    if "column" not in rule.kwargs or rule.type in ("expect_column_to_exist", OF_TYPE):
        return Measure(rows)
    column = frame.columns[rule.kwargs["column"]]
    null = column.missing if rule.type.endswith("non_null_values_to_be_between") else column.null
    if within is not None:
        null = None if null is None else null & within
    built = Measure(rows, 0 if null is None else int(null.sum()))
    keep = np.ones(frame.rows, bool) if within is None else within
    if column.null is not None:
        keep = keep & ~column.null
    if not keep.any() or rule.type.endswith("non_null_values_to_be_between"):
        return built
    numbers = column.numbers if keep.all() else column.numbers[keep]
    low, high = int(numbers.min()), int(numbers.max())
    total = (int((numbers >> 32).sum()) << 32) + int((numbers & 0xFFFFFFFF).sum())
    if pa.types.is_date32(column.values.type):
        days = [str(EPOCH + timedelta(days=number)) for number in (low, high)]
        return replace(built, low=days[0], high=days[1])
    if pa.types.is_timestamp(column.values.type):
        times = [str(MIDNIGHT + timedelta(microseconds=number)) for number in (low, high)]
        return replace(built, low=times[0], high=times[1])
    return replace(built, low=low, high=high, total=total, scale=column.scale)


def needed_columns(rules: Iterable[Rule]) -> set[str]:
    """Return the names of the columns that rules evaluate."""
    return {name for rule in rules for name in (*rule.columns, *condition_columns(rule.condition))}
