"""Compute the rows of a mart of keys, in full or as a patch over the rows of an earlier build.

The rows of a key depend on its facts in all months, its dimension rows, and perhaps on as_of. The totals of a range of
keys are sums over keys: new total = old total - old rows + new rows of the keys that differ.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marts.compute.engine import differing, differing_days, only_in
from marts.compute.highlights import Figures, exchanged, figures_of
from marts.compute.numbers import Numbers
from marts.compute.tables import NO_FACTS, NO_TABLES, compute_rows, stale_keys
from marts.highlights import Highlight
from marts.pack import Kind, Mart
from marts.privacy.erasure import is_guest, people

Dimensions = Mapping[str, pa.Table]
Months = Mapping[str, pa.Table]
"""Rows of the month tables that a mart reads, by name."""
LARGEST = 4
"""A patch has at most 1 / LARGEST of the rows below it."""


@dataclass(frozen=True)
class Totals:
    """Sums over the rows of some keys."""

    rows: int
    cents: int
    """Sum of the control column."""
    unmatched: Mapping[str, int]
    """Lines without a row in a dimension, by dimension."""
    erased_cents: int
    """Cents left out of the rows because the people were erased."""
    guest_cents: int
    """Cents left out of the rows because the lines are nobody's (guests)."""
    figures: Figures


@dataclass(frozen=True)
class Computed:
    """Rows of some keys, and their totals."""

    rows: pa.Table
    totals: Totals


@dataclass(frozen=True)
class Facts:
    """Facts of a range of keys: only in an earlier build, in both builds, only in this build."""

    removed: pa.Table
    kept: pa.Table
    added: pa.Table

    @property
    def previous(self) -> pa.Table:
        return pa.concat_tables([self.kept, self.removed])

    @property
    def current(self) -> pa.Table:
        return pa.concat_tables([self.kept, self.added])

    @property
    def rows(self) -> int:
        """Return the number of current rows."""
        return len(self.kept) + len(self.added)

    def of(self, key: str, ids: np.ndarray) -> "Facts":
        """Return the facts of some keys; ``ids`` are sorted."""
        return Facts(*(rows_of(table, key, ids) for table in (self.removed, self.kept, self.added)))


@dataclass(frozen=True)
class Patched:
    """Rows of the keys that differ from the rows below, their ids, and the totals of the whole range."""

    rows: pa.Table
    ids: np.ndarray
    totals: Totals


@dataclass(frozen=True)
class Difference:
    """Rows that an earlier build has and this one does not, and the reverse. A row that changed is among both."""

    removed: pa.Table
    added: pa.Table


@dataclass(frozen=True)
class Calculation:
    """How the rows of a mart are computed."""

    mart: Mart
    control: str
    """Column of its facts whose sum the control column of its rows must equal."""
    person: str
    """Column of people among its key; empty if its rows are not of people."""
    numbers: Numbers
    highlights: tuple[Highlight, ...] = ()
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    """Dimensions with versions that it reads."""

    @property
    def key(self) -> str:
        """Return the column by which it is computed in parts."""
        return self.mart.key[0]

    def compute(
        self, months: Months, dimensions: Dimensions, as_of: date, marts: Mapping[str, pa.Table] = NO_TABLES
    ) -> Computed:
        """Compute the rows of all keys that have facts; ``marts`` are those that it reads."""
        facts = months.get(self.mart.reads, NO_FACTS)
        known = people(facts, self.person) if self.person else facts
        others = {name: rows for name, rows in (*months.items(), *marts.items()) if name != self.mart.reads}
        computed = compute_rows(self.mart, known, dimensions, self.numbers, as_of, kinds=self.kinds, others=others)
        rows = computed.rows
        figures = figures_of(self.highlights, self.mart, rows)
        guests = self._cents(facts.filter(is_guest(facts, self.person))) if self.person else 0
        erased = self._cents(facts) - self._cents(known) - guests
        totals = Totals(rows.num_rows, self.total(rows), computed.unmatched, erased, guests, figures)
        return Computed(rows, totals)

    def changed(self, facts: Mapping[str, Facts], before: date, as_of: date) -> np.ndarray | None:
        """Return the keys whose facts differ, or whose rows another as_of may change; None if that may be all.

        ``facts`` are by month table.
        """
        stale = stale_keys(self.mart, facts[self.mart.reads].current, self.numbers, before, as_of)
        if stale is None:
            return None
        return reduce(np.union1d, (differing(item.removed, item.added, self.key) for item in facts.values()), stale)

    def total(self, rows: pa.Table) -> int:
        """Return the sum of the control column of rows, in cents."""
        return int((pc.sum(rows[self.mart.control]).as_py() or 0) * 100) if self.mart.control else 0

    def _cents(self, facts: pa.Table) -> int:
        return int(pc.sum(facts[self.control]).as_py() or 0) if self.control else 0


def too_many(own: Iterable[Facts], rows: int) -> bool:
    """Return whether a patch of the keys with the facts ``own`` would be too large; those of all keys are ``rows``."""
    return sum(item.rows for item in own) * LARGEST > rows


def patch(
    by: Calculation,
    previous: Totals,
    below: "Patched | None",
    own: Mapping[str, Facts],
    ids: np.ndarray,
    were: Callable[[Months], Computed],
    are: Callable[[Months], Computed],
) -> tuple[Patched, Difference] | None:
    """Compute the rows of the keys that differ, and merge them into those of an earlier patch.

    ``own`` are the facts of these keys, by month table. ``were`` computes rows like the earlier build, ``are`` like
    this one. Return also the difference from the earlier build; None if the patch grows too large, or if `exchanged`
    cannot derive the figures: all rows must be computed again.
    """
    old = were({name: facts.previous for name, facts in own.items()})
    new = are({name: facts.current for name, facts in own.items()})
    figures = exchanged(previous.figures, ids, old.totals.figures, new.totals.figures)
    if figures is None:
        return None
    rows, replaced = new.rows, ids
    if below:
        rows, replaced = overlay(by.key, below.rows, new.rows, ids), np.union1d(below.ids, ids)
    totals = _exchanged(previous, old.totals, new.totals, figures)
    if len(rows) * LARGEST > totals.rows:
        return None
    return Patched(rows, replaced, totals), difference(by.mart, old.rows, new.rows)


def difference(mart: Mart, before: pa.Table, now: pa.Table) -> Difference:
    """Return the rows of a mart that differ between two builds, in key order."""
    if mart.partition == "day" and before.num_rows and now.num_rows:
        day = next(column.name for column in mart.columns if column.type == "date" and not column.nullable)
        days = differing_days(before, now, day)
        before, now = (rows.filter(pc.is_in(rows[day], days)) for rows in (before, now))
    return Difference(only_in(before, now, mart.key), only_in(now, before, mart.key))


def _exchanged(previous: Totals, old: Totals, new: Totals, figures: Figures) -> Totals:
    return Totals(
        rows=previous.rows - old.rows + new.rows,
        cents=previous.cents - old.cents + new.cents,
        unmatched={
            name: previous.unmatched[name] - old.unmatched[name] + new.unmatched[name] for name in new.unmatched
        },
        erased_cents=previous.erased_cents - old.erased_cents + new.erased_cents,
        guest_cents=previous.guest_cents - old.guest_cents + new.guest_cents,
        figures=figures,
    )


def rows_of(rows: pa.Table, key: str, ids: np.ndarray) -> pa.Table:
    """Return the rows of some keys; ``ids`` are sorted."""
    return rows.filter(_among(rows[key], ids))


def overlay(key: str, rows: pa.Table, others: pa.Table, ids: np.ndarray) -> pa.Table:
    """Replace the rows of some keys with others; both are sorted by the mart's key."""
    left = rows.filter(pc.invert(_among(rows[key], ids)))
    joined = pa.concat_tables([left, others])
    # No key is in both tables, so a stable sort keeps each key's rows in order.
    return joined.take(pa.array(np.argsort(joined[key].to_numpy(), kind="stable")))


def _among(keys: pa.ChunkedArray, ids: np.ndarray) -> pa.ChunkedArray | pa.Array:
    """Return which keys are among ``ids``, which are sorted and not empty."""
    if pa.types.is_string(keys.type) and len(ids) <= len(keys):  # numpy would compare each text in Python
        return pc.is_in(keys, pa.array(ids, pa.string()))
    values = np.asarray(keys)
    return pa.array(ids[np.minimum(np.searchsorted(ids, values), len(ids) - 1)] == values)
