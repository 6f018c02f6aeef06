"""A task of step 4: compute the rows of a mart, or of a range of its keys, from the facts of all months.

Rows of an earlier build are not recomputed: differences become a patch over the existing rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.ports.store import READS_AT_ONCE, Store, at_once
from jobs.runtime import scratch
from jobs.state.parquet import read_parquet, write_parquet
from jobs.steps.dimensions import read_whole, unique
from jobs.steps.mart_facts import rows_in_range, rows_of_keys
from jobs.steps.mart_parts import Change, Finished, MartPart, MartTask, Part, Patch, Previous, added
from marts.compute.engine import differing, empty_mart, spill_to
from marts.compute.months import empty_rows
from marts.compute.patch import Difference, Facts, Patched, Totals, difference, overlay, patch, too_many
from marts.compute.patch import rows_of as rows_of_ids
from marts.compute.tables import columns_used, empty_dimension
from marts.pack import Lookup, Mart


def run_mart_task(task: MartTask) -> Finished:
    """Compute and write the mart rows of one key range, and the rows that differ from an earlier build."""
    store = task.state.open()
    spill_to(str(scratch.folder()))
    if task.previous is None:
        return _whole(store, task)
    return _patched(store, task, task.previous) or _anew(store, task, task.previous)


def rows_of(store: Store, mart: Mart, part: Part, patch: Patch | None, columns: Sequence[str] = ()) -> pa.Table:
    """Read the rows of a part in key order, or some columns; rows of its patch replace those in its file."""
    key = mart.key[0]
    names = list(dict.fromkeys((key, *columns))) if columns else None
    rows = read_parquet(store, part.path, names)
    if not patch:
        return rows
    patched = read_parquet(store, patch.rows, names)
    inside = pc.and_(pc.greater_equal(patched[key], part.low), pc.less(patched[key], part.high))
    return overlay(key, rows, patched.filter(inside), _ids(store, mart, patch))


def rows_in(
    store: Store, mart: Mart, files: Iterable[tuple[Part, Patch | None]], columns: Sequence[str] = ()
) -> pa.Table:
    """Read the rows of some parts of a mart, or some columns; they may be none."""
    empty = empty_mart(mart).select(columns) if columns else empty_mart(mart)

    def read(file: tuple[Part, Patch | None]) -> pa.Table:
        return rows_of(store, mart, *file, columns).select(empty.column_names)

    return pa.concat_tables([empty, *at_once(read, files, READS_AT_ONCE)])


def _whole(store: Store, task: MartTask) -> Finished:
    months = {name: _month_rows(store, task, name, paths) for name, paths in task.files.items()}
    dimensions = _dimensions(store, task, task.dimensions)
    computed = task.calculation.compute(months, dimensions, task.as_of, _marts(store, task))
    write_parquet(store, task.part.path, computed.rows, by=task.mart.key[0])
    part = _part((task.part,), computed.totals)
    if task.earlier is None:
        return Finished(part)
    before = rows_in(store, task.mart, task.earlier)
    return Finished(part, _changes(store, task, difference(task.mart, before, computed.rows)))


def _changes(store: Store, task: MartTask, differs: Difference) -> tuple[Change, ...]:
    """Write the rows that differ from an earlier build."""
    paths = []
    for side, rows in (("removed", differs.removed), ("added", differs.added)):
        paths.append(task.change_path(side) if rows.num_rows else "")
        if rows.num_rows:
            write_parquet(store, paths[-1], rows, by=task.mart.key[0])
    if not any(paths):
        return ()
    counts = (differs.removed.num_rows, differs.added.num_rows)
    return (Change(paths[0], paths[1], *counts, task.calculation.total(differs.added)),)


def _no_rows(task: MartTask, table: str) -> pa.Table:
    """Return a month table without rows: no drop of its facts has arrived."""
    return empty_rows(task.pack.months[table], task.pack, task.policy)


def _month_rows(store: Store, task: MartTask, name: str, paths: Sequence[str]) -> pa.Table:
    """Read a month table: the rows of a task's keys, if it has a range of them."""
    rows = rows_in_range(store, paths, task.mart.key[0], task)
    return _no_rows(task, name) if rows is None else rows


def _marts(store: Store, task: MartTask) -> dict[str, pa.Table]:
    """Read the marts that a mart reads: of those that are computed by its own key, the rows of the task's keys."""
    results = {}
    for name, files in task.marts:
        mart = task.pack.tables[name]
        if not task.pack.reads_by_key(task.mart, name):
            results[name] = rows_in(store, mart, files, task.mart.columns_of.get(name, ()))
            continue
        low: Any = task.low
        high: Any = task.high
        inside = [(part, patch) for part, patch in files if part.low < high and part.high > low]
        rows = rows_in(store, mart, inside)
        keys = rows[mart.key[0]]
        results[name] = rows.filter(pc.and_(pc.greater_equal(keys, low), pc.less(keys, high)))
    return results


def _anew(store: Store, task: MartTask, previous: Previous) -> Finished:
    """Compute all rows of a task again, part by part."""
    parts = [(part, item.patch) for item in previous.parts for part in item.parts]
    tasks = [
        replace(task, number=task.number + n, low=part.low, high=part.high, earlier=((part, patch),))
        for n, (part, patch) in enumerate(parts)
    ]
    finished = [_whole(store, item) for item in tasks]
    return Finished(added([item.part for item in finished]), tuple(c for item in finished for c in item.changes))


def _patched(store: Store, task: MartTask, previous: Previous) -> Finished | None:
    """Compute only the keys that differ from an earlier build. Return None if too many differ."""
    if not (previous.is_comparable and task.files):
        return None
    by, key = task.calculation, task.mart.key[0]
    before = added(previous.parts) if len(previous.parts) > 1 else previous.parts[0]
    all_may_change = bool(task.mart.stale) and previous.as_of != task.as_of
    facts = _facts(store, task, previous, all_may_change)
    ids = by.changed(facts, previous.as_of, task.as_of)
    if ids is None:
        return None
    old_dimensions = new_dimensions = {}
    if previous.dimensions != task.dimensions:
        old_dimensions, new_dimensions = (
            _dimensions(store, task, files) for files in (previous.dimensions, task.dimensions)
        )
        for item in task.mart.lookups:
            changed = _differing(task, item, old_dimensions[item.kind], new_dimensions[item.kind])
            if changed is None:
                return None
            ids = np.union1d(ids, changed)
    if not len(ids):
        return Finished(before)
    own = _of_keys(store, task, previous, facts, ids, all_may_change)
    if own is None:
        return None
    if new_dimensions:
        old_dimensions, new_dimensions = (_of(task, some, ids) for some in (old_dimensions, new_dimensions))
    else:
        old_dimensions = new_dimensions = _dimensions(store, task, task.dimensions, ids)
    below = _read_patch(store, task.mart, before.patch, before) if before.patch else None
    marts = _marts(store, task)
    result = patch(
        *(by, _totals(before), below, own, ids),
        lambda rows: by.compute(rows, old_dimensions, previous.as_of, marts),
        lambda rows: by.compute(rows, new_dimensions, task.as_of, marts),
    )
    if result is None:
        return None
    patched, differs = result
    write_parquet(store, task.patch.rows, patched.rows, by=key)
    write_parquet(store, task.patch.instead_of, pa.table({key: patched.ids}), by=key)
    return Finished(_part(before.parts, patched.totals, task.patch), _changes(store, task, differs))


def _differing(task: MartTask, item: Lookup, before: pa.Table, now: pa.Table) -> np.ndarray | None:
    """Return the keys of the mart whose rows in a dimension differ; None if that cannot be told from the key."""
    key = task.pack.kinds[item.kind].key or ""
    changed = differing(before, now, key)
    return changed if item.on == task.mart.key[0] or not len(changed) else None


def _of(task: MartTask, dimensions: Mapping[str, pa.Table], ids: np.ndarray) -> dict[str, pa.Table]:
    """Return the rows of the mart's own keys in dimensions that are looked up by them; others whole."""
    own = {item.kind for item in task.mart.lookups if item.on == task.mart.key[0]}
    return {
        name: rows_of_ids(rows, task.pack.kinds[name].key or "", ids) if name in own else rows
        for name, rows in dimensions.items()
    }


def _facts(store: Store, task: MartTask, previous: Previous, with_kept: bool) -> dict[str, Facts]:
    """Read the facts of a task's keys that differ from those of the earlier build, by month table; or all."""
    before = {task.mart.reads: previous.facts, **dict(previous.months)}
    results = {}
    for name, paths in task.files.items():
        was, now, key = set(before.get(name, ())), set(paths), task.mart.key[0]
        sides = (was - now, was & now if with_kept else (), now - was)
        read = [rows_in_range(store, sorted(side), key, task) for side in sides]
        known = [table for table in read if table is not None]
        nothing = known[0].slice(0, 0) if known else _no_rows(task, name)
        results[name] = Facts(*(nothing if table is None else table for table in read))
    return results


def _of_keys(
    store: Store, task: MartTask, previous: Previous, facts: Mapping[str, Facts], ids: np.ndarray, with_kept: bool
) -> dict[str, Facts] | None:
    """Return the facts of some keys, ``with_kept`` if ``facts`` have those of both builds; None if too many."""
    before, key = {task.mart.reads: previous.facts, **dict(previous.months)}, task.mart.key[0]
    own = {name: item.of(key, ids) for name, item in facts.items()}
    count = sum(item.rows for item in facts.values())
    for name, paths in task.files.items() if not with_kept else ():
        both = sorted(set(before.get(name, ())) & set(paths))
        kept, rows = rows_of_keys(store, both, key, task, ids)
        own[name] = own[name] if kept is None else replace(own[name], kept=kept)
        count += rows
    return None if too_many(own.values(), count) else own


def _part(parts: tuple[Part, ...], totals: Totals, patch: Patch | None = None) -> MartPart:
    left_out = (totals.erased_cents, totals.guest_cents)
    unknown = tuple(totals.unmatched.items())
    return MartPart(parts, totals.rows, totals.cents, unknown, totals.figures, *left_out, patch)


def _totals(part: MartPart) -> Totals:
    return Totals(part.rows, part.cents, dict(part.unknown), part.erased_cents, part.guest_cents, part.figures)


def _read_patch(store: Store, mart: Mart, patch: Patch, part: MartPart) -> Patched:
    return Patched(read_parquet(store, patch.rows), _ids(store, mart, patch), _totals(part))


def _ids(store: Store, mart: Mart, patch: Patch) -> np.ndarray:
    return np.asarray(read_parquet(store, patch.instead_of)[mart.key[0]])


def _dimensions(
    store: Store,
    task: MartTask,
    files: Sequence[tuple[str, Sequence[str]]],
    ids: np.ndarray | None = None,
) -> dict[str, pa.Table]:
    """Read the dimensions of a mart, of its own keys only those of the task, or some. Raise DuplicateKeys."""
    paths, own = dict(files), task.mart.key[0]
    results = {}
    for item in task.mart.lookups:
        kind = task.pack.kinds[item.kind]
        key, is_own = kind.key or "", item.on == own and task.mart.per == "key"
        if is_own:
            rows = rows_in_range(store, paths.get(kind.name, ()), key, task)
            rows = rows_of_ids(rows, key, ids) if rows is not None and ids is not None else rows
        else:
            rows = read_whole(store, paths.get(kind.name, ()))
        rows = unique(rows, kind, kind.name in task.last_counts)
        names = columns_used(kind, task.mart)
        results[kind.name] = empty_dimension(kind, task.mart) if rows is None else rows.select(names)
    return results
