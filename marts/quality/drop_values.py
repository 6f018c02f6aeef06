"""Rules about the whole drop: the value that each evaluates, and whether it holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from marts.quality.values import Measure


@dataclass(frozen=True)
class DropMeasure:
    """The measure of a rule about the drop, the number of rows it applies to, and the header."""

    measure: Measure
    rows: int
    columns: tuple[str, ...]


def row_count(of: DropMeasure) -> int:
    """Return the number of rows."""
    return of.rows


def column_count(of: DropMeasure) -> int:
    """Return the number of columns."""
    return len(of.columns)


def column_names(of: DropMeasure) -> list[str]:
    """Return the header."""
    return list(of.columns)


def least(of: DropMeasure) -> Any:
    """Return the minimum of a column; a date as text."""
    return _in_digits(of.measure.low, of.measure.scale)


def greatest(of: DropMeasure) -> Any:
    """Return the maximum of a column; a date as text."""
    return _in_digits(of.measure.high, of.measure.scale)


def total(of: DropMeasure) -> Any:
    """Return the sum of a column."""
    return Decimal(of.measure.total).scaleb(-of.measure.scale) if of.measure.scale else of.measure.total


def mean(of: DropMeasure) -> float | None:
    """Return the mean of a column; None if it has no value."""
    values = of.rows - of.measure.missing
    return float(Decimal(of.measure.total).scaleb(-of.measure.scale) / values) if values else None


def distinct(of: DropMeasure) -> int:
    """Return the number of distinct values of a column."""
    return of.measure.distinct


def distinct_share(of: DropMeasure) -> float:
    """Return the number of distinct values of a column divided by the number of its values."""
    values = of.rows - of.measure.missing
    return of.measure.distinct / values if values else 0


def filled_share(of: DropMeasure) -> float:
    """Return the share of rows that have a value."""
    return (of.rows - of.measure.missing) / of.rows if of.rows else 0


def equals(k: Mapping[str, Any], value: Any) -> bool:
    """Return whether a number equals the expected one."""
    return bool(value == k["value"])


def matches_set(k: Mapping[str, Any], value: Any) -> bool:
    """Return whether the columns equal a set, or contain it if ``exact_match`` is False."""
    wanted = set(k["column_set"])
    return wanted <= set(value) if k.get("exact_match", True) is False else wanted == set(value)


def matches_list(k: Mapping[str, Any], value: Any) -> bool:
    """Return whether the columns equal a list, in order."""
    return bool(value == list(k["column_list"]))


def has_column(k: Mapping[str, Any], value: Any) -> bool:
    """Return whether a column exists."""
    return k["column"] in value


def always(_: Mapping[str, Any], __: Any) -> bool:
    """Return True: the rule was checked when its suite was read, because types come from the schema."""
    return True


def within(k: Mapping[str, Any], value: Any) -> bool:
    """Return whether a value is within bounds; a missing value is not."""
    if value is None:
        return False
    low, high = k.get("min_value"), k.get("max_value")
    if not isinstance(value, str):
        value, low, high = (None if bound is None else Decimal(str(bound)) for bound in (value, low, high))
    return not (
        (low is not None and (value <= low if k.get("strict_min") else value < low))
        or (high is not None and (value >= high if k.get("strict_max") else value > high))
    )


def _in_digits(value: Any, scale: int) -> Any:
    return Decimal(value).scaleb(-scale) if isinstance(value, int) and scale else value
