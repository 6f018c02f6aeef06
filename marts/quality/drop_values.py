"""Rules about a drop as a whole: the value that each looks at, and whether it holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from marts.quality.values import Measure


@dataclass(frozen=True)
class DropMeasure:
    """What was measured for a rule about the drop, the rows that it is about, and the header."""

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
    """Return the least value of a column; a date as text."""
    return _in_digits(of.measure.low, of.measure.scale)


def greatest(of: DropMeasure) -> Any:
    """Return the greatest value of a column; a date as text."""
    return _in_digits(of.measure.high, of.measure.scale)


def total(of: DropMeasure) -> Any:
    """Return the sum of a column."""
    return Decimal(of.measure.total).scaleb(-of.measure.scale) if of.measure.scale else of.measure.total


def mean(of: DropMeasure) -> float | None:
    """Return the mean of a column; None without a value."""
    values = of.rows - of.measure.missing
    return float(Decimal(of.measure.total).scaleb(-of.measure.scale) / values) if values else None


def distinct(of: DropMeasure) -> int:
    """Return the number of different values of a column."""
    return of.measure.distinct


def distinct_share(of: DropMeasure) -> float:
    """Return the different values of a column per value."""
    values = of.rows - of.measure.missing
    return of.measure.distinct / values if values else 0


def filled_share(of: DropMeasure) -> float:
    """Return the share of rows that have a value."""
    return (of.rows - of.measure.missing) / of.rows if of.rows else 0


def equals(k: Mapping[str, Any], value: Any) -> bool:
    """Return whether a number is the wanted one."""
    return bool(value == k["value"])


def matches_set(k: Mapping[str, Any], value: Any) -> bool:
    """Return whether the columns are those of a set, or more."""
    wanted = set(k["column_set"])
    return wanted <= set(value) if k.get("exact_match", True) is False else wanted == set(value)


def matches_list(k: Mapping[str, Any], value: Any) -> bool:
    """Return whether the columns are those of a list, in order."""
    return bool(value == list(k["column_list"]))


def has_column(k: Mapping[str, Any], value: Any) -> bool:
    """Return whether there is a column."""
    return k["column"] in value


def always(_: Mapping[str, Any], __: Any) -> bool:
    """Return True: the rule was checked when its suite was read, for types are the schema's."""
    return True


def within(k: Mapping[str, Any], value: Any) -> bool:
    """Return whether a value is within bounds; one that does not exist is not."""
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
