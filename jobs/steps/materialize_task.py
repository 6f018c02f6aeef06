"""A task of step 4: compute the rows of a mart, or of a range of its customers, from the facts of all months.

Rows of an earlier build are not recomputed: differences become a patch over the existing rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.ports.store import Store
from jobs.runtime import scratch
from jobs.state.parquet import key_range, read_parquet, write_parquet
from jobs.steps.mart_parts import HIGHEST, LOWEST, MartPart, MartTask, Part, Patch, Previous, added
from marts.compute.engine import differing, sales_team_mart, spill_to
from marts.compute.highlights import figures_of
from marts.compute.patch import KEY, Facts, Patched, Totals, changed, compute, overlay, patch, too_many, total_sales
from marts.compute.patch import rows_of as rows_of_ids
from marts.errors import DuplicateKeys
from marts.rows.cast import DELETED
from marts.schema import CUSTOMERS, CUSTOMERS_MART, MARTS, PRODUCTS, SALES_TEAM, STORES, Kind

_BATCH = 1 << 16


def run_mart_task(task: MartTask) -> MartPart:
    """Compute and write the mart rows of one key range."""
    store = task.state.open()
    spill_to(str(scratch.folder()))
    if task.mart != CUSTOMERS_MART.name:
        return _sales_team(store, task)
    if task.previous is None:
        return _customers(store, task)
    return _patched(store, task, task.previous) or _anew(store, task, task.previous)


def rows_of(store: Store, part: Part, patch: Patch | None) -> pa.Table:
    """Read the rows of a part in key order; rows of its patch replace those in its file."""
    rows = read_parquet(store, part.path)
    if not patch:
        return rows
    patched = read_parquet(store, patch.rows)
    inside = pc.and_(pc.greater_equal(patched[KEY], part.low), pc.less(patched[KEY], part.high))
    return overlay(rows, patched.filter(inside), _ids(store, patch))


def _sales_team(store: Store, task: MartTask) -> MartPart:
    facts = pa.concat_tables([read_parquet(store, path) for path in task.facts])
    team = _people(_unique(_read(store, task, SALES_TEAM), SALES_TEAM, task), SALES_TEAM)
    stores = _unique(_read(store, task, STORES), STORES, task)
    stores = pa.table({"id": pa.nulls(0, pa.int64())}) if stores is None else stores
    rows, person, store_lines = sales_team_mart(facts, team, stores, task.policy)
    missing = ((SALES_TEAM.name, person), (STORES.name, store_lines))
    _unique(_read(store, task, PRODUCTS), PRODUCTS, task)
    write_parquet(store, task.part.path, rows)
    figures = figures_of(MARTS[task.mart], rows, None)
    return MartPart((task.part,), rows.num_rows, total_sales(rows), missing, figures)


def _customers(store: Store, task: MartTask) -> MartPart:
    facts = _in_range(store, task.facts, task)
    assert facts is not None
    computed = compute(facts, _names(store, task.files_of(CUSTOMERS), task), task.policy, task.as_of)
    write_parquet(store, task.part.path, computed.rows)
    return _part((task.part,), computed.totals)


def _anew(store: Store, task: MartTask, previous: Previous) -> MartPart:
    """Compute all rows of a task again, part by part."""
    parts = [part for item in previous.parts for part in item.parts]
    tasks = [replace(task, number=task.number + n, low=part.low, high=part.high) for n, part in enumerate(parts)]
    return added([_customers(store, item) for item in tasks])


def _patched(store: Store, task: MartTask, previous: Previous) -> MartPart | None:
    """Compute only the customers that differ from an earlier build. Return None if too many differ."""
    before = added(previous.parts) if len(previous.parts) > 1 else previous.parts[0]
    facts = _facts(store, task, previous)
    ids = changed(facts, task.policy.inactive_after_days, previous.as_of, task.as_of)
    customers = task.files_of(CUSTOMERS)
    names = [_names(store, paths, task) for paths in (previous.customers, customers) if previous.customers != customers]
    if names:
        ids = np.union1d(ids, differing(names[0], names[1], KEY))
    if not len(ids):
        return before
    own = facts.of(ids)
    if too_many(facts, own):
        return None
    old_names, new_names = [rows_of_ids(item, ids) for item in names] or [_names(store, customers, task, ids)] * 2
    below = _read_patch(store, before.patch, before) if before.patch else None
    patched = patch(
        *(_totals(before), below, facts, own, ids),
        lambda lines: compute(lines, old_names, task.policy, previous.as_of),
        lambda lines: compute(lines, new_names, task.policy, task.as_of),
    )
    if patched is None:
        return None
    write_parquet(store, task.patch.rows, patched.rows)
    write_parquet(store, task.patch.instead_of, pa.table({KEY: patched.ids}))
    return _part(before.parts, patched.totals, task.patch)


def _facts(store: Store, task: MartTask, previous: Previous) -> Facts:
    """Read the facts of a task's customers: only in the earlier build, in both, only in this build."""
    was, now = set(previous.facts), set(task.facts)
    read = [_in_range(store, sorted(paths), task) for paths in (was - now, was & now, now - was)]
    nothing = next(table for table in read if table is not None).slice(0, 0)
    return Facts(*(nothing if table is None else table for table in read))


def _part(parts: tuple[Part, ...], totals: Totals, patch: Patch | None = None) -> MartPart:
    unknown = ((CUSTOMERS.name, totals.unmatched),)
    left_out = (totals.erased_cents, totals.guest_cents)
    return MartPart(parts, totals.rows, totals.cents, unknown, totals.figures, *left_out, patch)


def _totals(part: MartPart) -> Totals:
    unmatched = dict(part.unknown)[CUSTOMERS.name]
    return Totals(part.rows, part.cents, unmatched, part.erased_cents, part.guest_cents, part.figures)


def _read_patch(store: Store, patch: Patch, part: MartPart) -> Patched:
    return Patched(read_parquet(store, patch.rows), _ids(store, patch), _totals(part))


def _ids(store: Store, patch: Patch) -> np.ndarray:
    return np.asarray(read_parquet(store, patch.instead_of)[KEY])


def _in_range(store: Store, paths: Iterable[str], task: MartTask) -> pa.Table | None:
    """Read the rows of a task's customers, skipping row groups without any. Return None if there is no file."""

    def read(file: pa.NativeFile) -> pa.Table:
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        column = parquet.schema_arrow.get_field_index(KEY)
        bounds = [key_range(parquet.metadata, n, column) or (LOWEST, HIGHEST) for n in range(parquet.num_row_groups)]
        groups = [n for n, (low, high) in enumerate(bounds) if low < task.high and high >= task.low]
        whole = {n for n in groups if bounds[n][0] >= task.low and bounds[n][1] < task.high}
        tables = [parquet.schema_arrow.empty_table()]
        for is_whole, run in groupby(groups, key=whole.__contains__):  # in the order of the file
            if is_whole:
                tables.append(parquet.read_row_groups(list(run), use_threads=False))
                continue
            for batch in parquet.iter_batches(_BATCH, row_groups=list(run), use_threads=False):
                keys = batch.column(column)
                inside = pc.and_(pc.greater_equal(keys, task.low), pc.less(keys, task.high))
                tables.append(pa.Table.from_batches([batch.filter(inside)]))
        return pa.concat_tables(tables)

    tables = [store.using(path, read) for path in paths]
    return pa.concat_tables(tables, promote_options="default") if tables else None


def _names(store: Store, paths: Sequence[str], task: MartTask, ids: np.ndarray | None = None) -> pa.Table:
    """Read the mart's columns of a task's customers, or of some. Raise DuplicateKeys for a duplicate customer."""
    rows = _in_range(store, paths, task)
    if rows is not None and ids is not None:
        rows = rows_of_ids(rows, ids)
    return _people(_unique(rows, CUSTOMERS, task), CUSTOMERS, ("address", "phone_number"))


def _read(store: Store, task: MartTask, kind: Kind) -> pa.Table | None:
    tables = [read_parquet(store, path) for path in task.files_of(kind)]
    return pa.concat_tables(tables, promote_options="default") if tables else None


def _people(rows: pa.Table | None, kind: Kind, also: Sequence[str] = ()) -> pa.Table:
    """Return key, full_name and further columns of a dimension of people."""
    key = kind.key or ""
    if rows is None:
        return pa.table({key: pa.nulls(0, pa.int64()), **{n: pa.nulls(0, pa.string()) for n in ("full_name", *also)}})
    names = pc.binary_join_element_wise(rows["first_name"], rows["last_name"], " ", null_handling="skip")
    return pa.table({key: rows[key], "full_name": names, **{name: rows[name] for name in also}})


def _unique(rows: pa.Table | None, kind: Kind, task: MartTask) -> pa.Table | None:
    """Return one row per key. Raise DuplicateKeys for rows that differ: which one is right cannot be decided."""
    key = kind.key or ""
    if rows is None:
        return None
    if DELETED in rows.column_names:  # null in the rows of a whole table, which come first
        is_change = rows[DELETED].is_valid()
        whole = _unique(rows.filter(pc.invert(is_change)).drop_columns([DELETED]), kind, task)
        both = pa.concat_tables([whole, rows.filter(is_change)], promote_options="default")
        return _last_of_each(both, key)
    if kind.name in task.last_counts:
        return _last_of_each(rows, key)
    if _repeats(rows, key):
        rows = rows.group_by(rows.column_names, use_threads=False).aggregate([])  # equal rows are one
    if ids := _repeats(rows, key):
        raise DuplicateKeys.of(kind.name, key, ids)
    return rows


def _repeats(rows: pa.Table, key: str) -> list[int]:
    """Return the keys of several rows, sorted."""
    counts = rows[key].combine_chunks().value_counts()
    return sorted(counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist())


def _last_of_each(rows: pa.Table, key: str) -> pa.Table:
    """Return the last row of each key, unless it is deleted."""
    backwards = np.asarray(rows[key])[::-1]
    _, places = np.unique(backwards, return_index=True)
    rows = rows.take(pa.array(np.sort(len(backwards) - 1 - places)))
    if DELETED in rows.column_names:
        rows = rows.filter(pc.invert(pc.fill_null(rows[DELETED], False))).drop_columns([DELETED])
    return rows
