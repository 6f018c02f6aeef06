"""Differences between two generations of a mart, as a target computes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal


@dataclass(frozen=True)
class RowDifference:
    """One row that differs."""

    change: Literal["added", "removed", "changed"]
    key: Mapping[str, Any]
    was: Mapping[str, Any]
    """Values besides the key, by column: of a changed row those that differ; none of an added row."""
    now: Mapping[str, Any]
    """The same columns afterwards; none of a removed row."""


@dataclass(frozen=True)
class SumDifference:
    """A sum over all rows of a mart, before and after."""

    column: str
    was: Decimal
    now: Decimal

    @property
    def difference(self) -> Decimal:
        return self.now - self.was


@dataclass(frozen=True)
class Comparison:
    """What differs between two generations of a mart."""

    added: int = 0
    removed: int = 0
    changed: int = 0
    unchanged: int = 0
    sums: tuple[SumDifference, ...] = ()
    """Of the control column, if both have it."""
    ordered_by: str = ""
    """Column of money by whose change the rows are ordered, the largest first; by key if empty."""
    rows: tuple[RowDifference, ...] = ()
    """The first of them; rows of an equal change are in the order of their keys."""
    new_columns: tuple[str, ...] = ()
    """Columns that only the later generation has: their values are not compared."""
    removed_columns: tuple[str, ...] = ()
    """Columns that only the earlier generation has."""
    retyped_columns: tuple[str, ...] = ()
    """Columns that are of another type in the later one."""
    why_not: str = ""
    """Why the rows cannot be compared; empty if they were."""

    @property
    def differing(self) -> int:
        """Return the number of rows that differ."""
        return self.added + self.removed + self.changed

    @property
    def left_out(self) -> int:
        """Return the number of rows that differ and are not listed."""
        return self.differing - len(self.rows)
