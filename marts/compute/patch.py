"""Compute the rows of the customers mart, in full or as a patch over the rows of an earlier build.

A customer's rows depend on their facts in all months, their dimension row, and whether as_of makes them inactive.
The totals of a range of customers are sums over customers: new total = old total - old rows + new rows of the customers
that differ.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marts.compute.engine import customers_mart, differing
from marts.compute.highlights import Figures, exchanged, figures_of
from marts.policy import Policy
from marts.privacy.erasure import people
from marts.rows.cast import GUEST
from marts.schema import CUSTOMERS_MART

KEY = "customer_id"
LARGEST = 4
"""A patch has at most 1 / LARGEST of the rows below it."""


@dataclass(frozen=True)
class Totals:
    """Sums over the rows of some customers."""

    rows: int
    cents: int
    """Sum of total_sales."""
    unmatched: int
    """Lines whose customer has no dimension row."""
    erased_cents: int
    """Cents left out of the rows because the customers were erased."""
    guest_cents: int
    """Cents left out of the rows because the lines have no customer (guests)."""
    figures: Figures


@dataclass(frozen=True)
class Computed:
    """Rows of some customers, and their totals."""

    rows: pa.Table
    totals: Totals


@dataclass(frozen=True)
class Facts:
    """Facts of a range of customers: only in an earlier build, in both builds, only in this build."""

    removed: pa.Table
    kept: pa.Table
    added: pa.Table

    @property
    def current(self) -> pa.Table:
        return pa.concat_tables([self.kept, self.added])

    def of(self, ids: np.ndarray) -> "Facts":
        """Return the facts of some customers; ``ids`` are sorted."""
        return Facts(*(rows_of(table, ids) for table in (self.removed, self.kept, self.added)))


@dataclass(frozen=True)
class Patched:
    """Rows of the customers that differ from the rows below, their ids, and the totals of the whole range."""

    rows: pa.Table
    ids: np.ndarray
    totals: Totals


def compute(facts: pa.Table, names: pa.Table, policy: Policy, as_of: date) -> Computed:
    """Compute the rows of all customers that have facts."""
    known = people(facts)
    rows, unmatched = customers_mart(known, names, policy, as_of)
    figures = figures_of(CUSTOMERS_MART, rows, _newest(facts))
    guests = _cents(facts.filter(pc.equal(facts[KEY], GUEST)))
    erased = _cents(facts) - _cents(known) - guests
    return Computed(rows, Totals(rows.num_rows, total_sales(rows), unmatched, erased, guests, figures))


def changed(facts: Facts, after_days: int, before: date, as_of: date) -> np.ndarray:
    """Return the customers whose facts differ, or that are inactive on exactly one of two days."""
    differ = differing(facts.removed, facts.added, KEY)
    return np.unique(np.concatenate([differ, _turned(facts.current, after_days, before, as_of)]))


def too_many(facts: Facts, own: Facts) -> bool:
    """Return whether a patch of the customers with the facts ``own`` would be too large."""
    return len(own.current) * LARGEST > len(facts.current)


def patch(
    previous: Totals,
    below: "Patched | None",
    facts: Facts,
    own: Facts,
    ids: np.ndarray,
    were: Callable[[pa.Table], Computed],
    are: Callable[[pa.Table], Computed],
) -> Patched | None:
    """Compute the rows of the customers that differ, and merge them into those of an earlier patch.

    ``own`` are the facts of these customers. ``were`` computes rows like the earlier build, ``are`` like this one.
    Return None if the patch grows too large, or if `exchanged` cannot derive the figures: all rows must be computed
    again.
    """
    current = facts.current
    old, new = were(pa.concat_tables([own.kept, own.removed])), are(own.current)
    figures = exchanged(
        previous.figures, ids, old.totals.figures, new.totals.figures, _sales_by_month(current), _newest(current)
    )
    if figures is None:
        return None
    rows, replaced = new.rows, ids
    if below:
        rows, replaced = overlay(below.rows, new.rows, ids), np.union1d(below.ids, ids)
    totals = _exchanged(previous, old.totals, new.totals, figures)
    return None if len(rows) * LARGEST > totals.rows else Patched(rows, replaced, totals)


def _exchanged(previous: Totals, old: Totals, new: Totals, figures: Figures) -> Totals:
    return Totals(
        rows=previous.rows - old.rows + new.rows,
        cents=previous.cents - old.cents + new.cents,
        unmatched=previous.unmatched - old.unmatched + new.unmatched,
        erased_cents=previous.erased_cents - old.erased_cents + new.erased_cents,
        guest_cents=previous.guest_cents - old.guest_cents + new.guest_cents,
        figures=figures,
    )


def rows_of(rows: pa.Table, ids: np.ndarray) -> pa.Table:
    """Return the rows of some customers; ``ids`` are sorted."""
    return rows.filter(pa.array(_among(np.asarray(rows[KEY]), ids)))


def overlay(rows: pa.Table, others: pa.Table, ids: np.ndarray) -> pa.Table:
    """Replace the rows of some customers with others; both are sorted by the mart's key."""
    left = rows.filter(pa.array(~_among(np.asarray(rows[KEY]), ids)))
    joined = pa.concat_tables([left, others])
    # No customer is in both tables, so a stable sort keeps each customer's rows in order.
    return joined.take(pa.array(np.argsort(joined[KEY].to_numpy(), kind="stable")))


def total_sales(rows: pa.Table) -> int:
    """Return the sum of total_sales, in cents."""
    return int((pc.sum(rows["total_sales"]).as_py() or 0) * 100)


def _among(keys: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return which keys are among ``ids``, which are sorted and not empty."""
    return np.asarray(ids[np.minimum(np.searchsorted(ids, keys), len(ids) - 1)] == keys)


def _turned(facts: pa.Table, after_days: int, before: date, as_of: date) -> np.ndarray:
    """Return the customers that may be inactive on exactly one of two days."""
    bought = facts.select([KEY, "last_bought"]).filter(facts["last_bought"].is_valid())
    last = np.asarray(bought["last_bought"])
    inactive = [(np.datetime64(day, "D") - last).astype(np.int64) > after_days for day in (before, as_of)]
    return np.asarray(bought.filter(pa.array(inactive[0] != inactive[1]))[KEY])


def _newest(facts: pa.Table) -> date | None:
    newest = pc.max(facts["last_bought"]).as_py()
    assert newest is None or isinstance(newest, date)
    return newest


def _sales_by_month(facts: pa.Table) -> list[tuple[date, int]]:
    """Return the cents of each month with sales, without guests and erased people."""
    sums = people(facts.select([KEY, "month", "total_cents"])).group_by("month", use_threads=False)
    sums = sums.aggregate([("total_cents", "sum")])
    return sorted(zip(sums["month"].to_pylist(), sums["total_cents_sum"].to_pylist(), strict=True))


def _cents(facts: pa.Table) -> int:
    return int(pc.sum(facts["total_cents"]).as_py() or 0)
