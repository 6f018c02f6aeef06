"""A task of step 4: the rows of one mart, or of a range of its customers, from the facts of all months.

What an earlier build has made is not made again: what differs is a patch over the rows that are there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.adapters.store.open import StoreAddress
from jobs.ports.store import Store
from jobs.runtime import scratch
from jobs.state.parquet import read_parquet, write_parquet
from marts.compute.engine import customers_mart, differing, sales_team_mart, spill_to
from marts.compute.highlights import Figures, exchanged, figures_of, together
from marts.errors import DataError
from marts.policy import Policy
from marts.privacy.erasure import people
from marts.rows.cast import GUEST
from marts.schema import CUSTOMERS, CUSTOMERS_MART, MARTS, PRODUCTS, SALES_TEAM, STORES, Kind

_BATCH = 1 << 16
_PATCHED = 4
"""A patch is at most so small a part of the rows: 1 / this."""
_KEY = "customer_id"
LOWEST, HIGHEST = -(2**63), 2**63 - 1


@dataclass(frozen=True)
class Part:
    """A file of rows: of the customers from low (included) to high (excluded), or all of a mart."""

    path: str
    low: int
    high: int


@dataclass(frozen=True)
class Patch:
    """What is different from the rows in some files."""

    rows: str
    """File with the rows of customers that are not as they were."""
    instead_of: str
    """File with those customers; one that is gone has no rows."""


@dataclass(frozen=True)
class Finished:
    """The rows that one task made, or patched, and what there is to tell of them."""

    parts: tuple[Part, ...]
    """In the order of the key, without gaps."""
    rows: int
    cents: int
    """Sum of total_sales."""
    unknown: tuple[tuple[str, int], ...]
    """Lines without a dimension row, by kind."""
    figures: Figures
    erased_cents: int = 0
    """Sum of what is left out, since its people were erased."""
    guest_cents: int = 0
    """Sum of what is left out, since it is of nobody in particular."""
    patch: Patch | None = None

    @property
    def paths(self) -> set[str]:
        files = (self.patch.rows, self.patch.instead_of) if self.patch else ()
        return {*(part.path for part in self.parts), *files}


@dataclass(frozen=True)
class Before:
    """What an earlier build made of the same range by the same rules, and of what."""

    finished: tuple[Finished, ...]
    facts: tuple[str, ...]
    customers: tuple[str, ...]
    as_of: date


@dataclass(frozen=True)
class Finish:
    """One task: the rows of a mart whose first key is from low (included) to high (excluded)."""

    mart: str
    number: int
    """Of its first part."""
    low: int
    high: int
    folder: str
    facts: tuple[str, ...]
    dimensions: tuple[tuple[str, tuple[str, ...]], ...]
    """Clean files of each dimension."""
    policy: Policy
    as_of: date
    state: StoreAddress
    before: Before | None = None

    @property
    def part(self) -> Part:
        return Part(f"{self.folder}/part-{self.number:05d}.parquet", self.low, self.high)

    @property
    def patch(self) -> Patch:
        name = f"{self.number:05d}.parquet"
        return Patch(f"{self.folder}/patch-{name}", f"{self.folder}/instead-{name}")

    def files_of(self, kind: Kind) -> tuple[str, ...]:
        return dict(self.dimensions).get(kind.name, ())


@dataclass(frozen=True)
class _Made:
    """Rows of some customers, and what there is to tell of them."""

    rows: pa.Table
    cents: int
    erased_cents: int
    guest_cents: int
    unknown: int
    figures: Figures


def run_finish(task: Finish) -> Finished:
    """Compute the mart rows of one key range, and write them."""
    store = task.state.open()
    spill_to(str(scratch.folder()))
    if task.mart != CUSTOMERS_MART.name:
        return _sales_team(store, task)
    if task.before is None:
        return _customers(store, task)
    return _patched(store, task, task.before) or _anew(store, task, task.before)


def rows_of(store: Store, part: Part, patch: Patch | None) -> pa.Table:
    """Read the rows of a part, in the order of the mart's key: those of its patch instead of those in its file."""
    rows = read_parquet(store, part.path)
    if not patch:
        return rows
    patched = read_parquet(store, patch.rows)
    inside = pc.and_(pc.greater_equal(patched[_KEY], part.low), pc.less(patched[_KEY], part.high))
    return _instead(rows, patched.filter(inside), _ids(store, patch))


def _sales_team(store: Store, task: Finish) -> Finished:
    facts = pa.concat_tables([read_parquet(store, path) for path in task.facts])
    team = _people(_unique(_read(store, task, SALES_TEAM), SALES_TEAM), SALES_TEAM)
    stores = _unique(_read(store, task, STORES), STORES)
    stores = pa.table({"id": pa.nulls(0, pa.int64())}) if stores is None else stores
    rows, person, store_lines = sales_team_mart(facts, team, stores, task.policy)
    missing = ((SALES_TEAM.name, person), (STORES.name, store_lines))
    _unique(_read(store, task, PRODUCTS), PRODUCTS)
    write_parquet(store, task.part.path, rows)
    figures = figures_of(MARTS[task.mart], rows, None)
    return Finished((task.part,), rows.num_rows, _total(rows), missing, figures)


def _customers(store: Store, task: Finish) -> Finished:
    facts = _in_range(store, task.facts, task)
    assert facts is not None
    made = _made(facts, _names(store, task.files_of(CUSTOMERS), task), task.policy, task.as_of)
    write_parquet(store, task.part.path, made.rows)
    unknown = ((CUSTOMERS.name, made.unknown),)
    return Finished(
        (task.part,), made.rows.num_rows, made.cents, unknown, made.figures, made.erased_cents, made.guest_cents
    )


def _anew(store: Store, task: Finish, before: Before) -> Finished:
    """Make all rows of a task again, part by part."""
    parts = [part for one in before.finished for part in one.parts]
    tasks = [replace(task, number=task.number + n, low=part.low, high=part.high) for n, part in enumerate(parts)]
    return added([_customers(store, one) for one in tasks])


def added(finished: Sequence[Finished]) -> Finished:
    """Put together what several tasks made of one mart, none of them as a patch."""
    kinds = [kind for kind, _ in finished[0].unknown]
    return Finished(
        parts=tuple(part for one in finished for part in one.parts),
        rows=sum(one.rows for one in finished),
        cents=sum(one.cents for one in finished),
        unknown=tuple((kind, sum(dict(one.unknown)[kind] for one in finished)) for kind in kinds),
        figures=together(one.figures for one in finished),
        erased_cents=sum(one.erased_cents for one in finished),
        guest_cents=sum(one.guest_cents for one in finished),
    )


def _patched(store: Store, task: Finish, before: Before) -> Finished | None:
    """Compute only the customers that differ from an earlier build. Gives nothing if too many do.

    A customer's rows are made of their facts in all months, their dimension row, and whether as_of makes them
    inactive. What is told of a range is a sum over customers: what was told, less what these were, and more what
    they are.
    """
    told = added(before.finished) if len(before.finished) > 1 else before.finished[0]
    was, shall = set(before.facts), set(task.facts)
    read = [_in_range(store, sorted(paths), task) for paths in (was - shall, was & shall, shall - was)]
    nothing = next(table for table in read if table is not None).slice(0, 0)
    facts_gone, facts_same, facts_come = (nothing if table is None else table for table in read)
    now = pa.concat_tables([facts_same, facts_come])
    found = [
        differing(facts_gone, facts_come, _KEY),
        _turned(now, task.policy.inactive_after_days, before.as_of, task.as_of),
    ]
    customers = task.files_of(CUSTOMERS)
    both = [_names(store, paths, task) for paths in (before.customers, customers) if before.customers != customers]
    if both:
        found.append(differing(both[0], both[1], _KEY))
    ids = np.unique(np.concatenate(found))
    if not len(ids):
        return told
    their_same, their_come, their_gone = (_of(table, ids) for table in (facts_same, facts_come, facts_gone))
    if (len(their_same) + len(their_come)) * _PATCHED > len(now):
        return None
    names_before, names = [_of(one, ids) for one in both] or [_names(store, customers, task, ids)] * 2
    were = _made(pa.concat_tables([their_same, their_gone]), names_before, task.policy, before.as_of)
    are = _made(pa.concat_tables([their_same, their_come]), names, task.policy, task.as_of)
    figures = exchanged(told.figures, ids, were.figures, are.figures, _sales_by_month(now), _newest(now))
    if figures is None:
        return None
    patched, instead_of = are.rows, ids
    if told.patch:
        patched = _instead(read_parquet(store, told.patch.rows), are.rows, ids)
        instead_of = np.union1d(_ids(store, told.patch), ids)
    rows = told.rows - were.rows.num_rows + are.rows.num_rows
    if len(patched) * _PATCHED > rows:
        return None
    write_parquet(store, task.patch.rows, patched)
    write_parquet(store, task.patch.instead_of, pa.table({_KEY: instead_of}))
    return Finished(
        parts=told.parts,
        rows=rows,
        cents=told.cents - were.cents + are.cents,
        unknown=((CUSTOMERS.name, dict(told.unknown)[CUSTOMERS.name] - were.unknown + are.unknown),),
        figures=figures,
        erased_cents=told.erased_cents - were.erased_cents + are.erased_cents,
        guest_cents=told.guest_cents - were.guest_cents + are.guest_cents,
        patch=task.patch,
    )


def _ids(store: Store, patch: Patch) -> np.ndarray:
    return np.asarray(read_parquet(store, patch.instead_of)[_KEY])


def _turned(facts: pa.Table, after_days: int, before: date, now: date) -> np.ndarray:
    """Give the customers that may be inactive on one of two days and not on the other."""
    bought = facts.select([_KEY, "last_bought"]).filter(facts["last_bought"].is_valid())
    last = np.asarray(bought["last_bought"])
    inactive = [(np.datetime64(day, "D") - last).astype(np.int64) > after_days for day in (before, now)]
    return np.asarray(bought.filter(pa.array(inactive[0] != inactive[1]))[_KEY])


def _of(rows: pa.Table, ids: np.ndarray) -> pa.Table:
    """Give the rows of some customers; ``ids`` are in order."""
    return rows.filter(pa.array(_among(np.asarray(rows[_KEY]), ids)))


def _among(keys: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Tell which keys are among some ids, in order and at least one."""
    return np.asarray(ids[np.minimum(np.searchsorted(ids, keys), len(ids) - 1)] == keys)


def _instead(rows: pa.Table, others: pa.Table, ids: np.ndarray) -> pa.Table:
    """Put other rows in the place of those of some customers; both are in the order of the mart's key."""
    left = rows.filter(pa.array(~_among(np.asarray(rows[_KEY]), ids)))
    together = pa.concat_tables([left, others])
    # No customer is in both: their own rows stay in order.
    return together.take(pa.array(np.argsort(together[_KEY].to_numpy(), kind="stable")))


def _made(everybody: pa.Table, names: pa.Table, policy: Policy, as_of: date) -> _Made:
    facts = people(everybody)
    rows, unknown = customers_mart(facts, names, policy, as_of)
    figures = figures_of(CUSTOMERS_MART, rows, _newest(everybody))
    guests = _cents(everybody.filter(pc.equal(everybody[_KEY], GUEST)))
    return _Made(rows, _total(rows), _cents(everybody) - _cents(facts) - guests, guests, unknown, figures)


def _newest(facts: pa.Table) -> date | None:
    newest = pc.max(facts["last_bought"]).as_py()
    assert newest is None or isinstance(newest, date)
    return newest


def _sales_by_month(facts: pa.Table) -> list[tuple[date, int]]:
    """Give the months in which people bought anything, with the cents."""
    sums = people(facts.select([_KEY, "month", "total_cents"])).group_by("month", use_threads=False)
    sums = sums.aggregate([("total_cents", "sum")])
    return sorted(zip(sums["month"].to_pylist(), sums["total_cents_sum"].to_pylist(), strict=True))


def _total(rows: pa.Table) -> int:
    return int((pc.sum(rows["total_sales"]).as_py() or 0) * 100)


def _cents(facts: pa.Table) -> int:
    return int(pc.sum(facts["total_cents"]).as_py() or 0)


def _in_range(store: Store, paths: Iterable[str], task: Finish) -> pa.Table | None:
    """Read the rows of a task's customers, skipping row groups that hold none. Gives nothing of no file."""

    def read(file: pa.NativeFile) -> pa.Table:
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        column = parquet.schema_arrow.get_field_index(_KEY)
        bounds = [_bounds(parquet, n, column) for n in range(parquet.num_row_groups)]
        groups = [n for n, (low, high) in enumerate(bounds) if low < task.high and high >= task.low]
        whole = [n for n in groups if bounds[n][0] >= task.low and bounds[n][1] < task.high]
        rest = [n for n in groups if n not in whole]
        tables = [parquet.read_row_groups(whole, use_threads=False)]
        for batch in parquet.iter_batches(_BATCH, row_groups=rest, use_threads=False) if rest else ():
            keys = batch.column(column)
            inside = pc.and_(pc.greater_equal(keys, task.low), pc.less(keys, task.high))
            tables.append(pa.Table.from_batches([batch.filter(inside)]))
        return pa.concat_tables(tables)

    tables = [store.using(path, read) for path in paths]
    return pa.concat_tables(tables) if tables else None


def _names(store: Store, paths: Sequence[str], task: Finish, ids: np.ndarray | None = None) -> pa.Table:
    """Read what the mart shows of a task's customers, or some of them. Raises DataError if one is there twice."""
    rows = _in_range(store, paths, task)
    if rows is not None and ids is not None:
        rows = _of(rows, ids)
    return _people(_unique(rows, CUSTOMERS), CUSTOMERS, ("address", "phone_number"))


def _bounds(parquet: pq.ParquetFile, group: int, column: int) -> tuple[int, int]:
    """Give the lowest and the highest key of a row group: any, if it does not say."""
    statistics = parquet.metadata.row_group(group).column(column).statistics
    if statistics is None or not statistics.has_min_max:
        return LOWEST, HIGHEST
    return statistics.min, statistics.max


def _read(store: Store, task: Finish, kind: Kind) -> pa.Table | None:
    tables = [read_parquet(store, path) for path in task.files_of(kind)]
    return pa.concat_tables(tables) if tables else None


def _people(rows: pa.Table | None, kind: Kind, also: Sequence[str] = ()) -> pa.Table:
    """Give key and full_name of a dimension of people, and further columns."""
    key = kind.key or ""
    if rows is None:
        return pa.table({key: pa.nulls(0, pa.int64()), **{n: pa.nulls(0, pa.string()) for n in ("full_name", *also)}})
    names = pc.binary_join_element_wise(rows["first_name"], rows["last_name"], " ")
    return pa.table({key: rows[key], "full_name": names, **{name: rows[name] for name in also}})


def _unique(rows: pa.Table | None, kind: Kind) -> pa.Table | None:
    """Give the rows. Raises DataError if a key is there twice: nobody can tell which row is right."""
    key = kind.key or ""
    if rows is None:
        return None
    counts = rows[key].combine_chunks().value_counts()
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        ids = sorted(twice.field("values").to_pylist())
        shown = ", ".join(map(str, ids[:5])) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
        hint = f"deliver {kind.name}/ again with each {key} once; the live marts are untouched"
        raise DataError(f"{key} is there more than once: {shown}", kind.name, hint)
    return rows
