"""Step 4, materialize: compute mart rows from the facts of all months, by key ranges, in parallel.

Rows are Parquet files named by their inputs; the target loads them from there.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby, pairwise
from math import ceil
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from jobs.adapters.store.open import StoreAddress
from jobs.ports.store import Store, at_once
from jobs.state.manifest import name_of
from jobs.state.parquet import footer, key_range
from jobs.steps.mart_parts import Change, Key, MartPart, MartTask, Part, Patch, Previous, all_keys
from jobs.steps.rollup import RollUp
from marts import __version__
from marts.compute.engine import digest, named_in
from marts.compute.highlights import Figures, together
from marts.compute.tables import period_end
from marts.compute.versions import month_after
from marts.errors import StateDamaged
from marts.pack import Mart, Pack
from marts.policy import Policy, numbers_of

_TOGETHER = 8
"""Number of parts that one task patches, if none of them is patched yet; more if few rows differ."""
_PATCHED = 4
"""A task may patch rows that differ in so many times the rows of a task that computes all."""
_GROWN = 1.5
"""A mart whose parts have grown by this factor is split again."""
_MORE_FACTS = 4
"""A mart of keys that reads so many times the rows that it was split for is split again: its own may be few."""


_NARROW = 4
"""A task reads so many times the rows that it computes at most: each opens all files of facts."""


@dataclass(frozen=True)
class Size:
    """How many rows of month tables a mart of keys reads, and about how many a task should."""

    per_task: int
    facts: int = 0
    changed: int = 0
    """Rows of files that an earlier build did not read, or that are not read any more."""

    def split_like(self, before: "MartRows") -> "Size":
        """Return the size with as many rows per task as compute the rows that it should: those before say how many."""
        several = before.fact_rows / before.rows if before.rows and before.fact_rows else 1
        return replace(self, per_task=round(self.per_task * min(max(several, 1), _NARROW)))


@dataclass(frozen=True)
class Inputs:
    """Inputs of the rows of a mart."""

    rules: str
    """Name of the calculation and the policy: rows of another version are recomputed, not patched."""
    facts: tuple[str, ...]
    dimensions: tuple[tuple[str, tuple[str, ...]], ...]
    """Clean files of each dimension, in order of delivery."""
    as_of: date
    last_counts: tuple[str, ...] = ()
    """Dimensions of which the last row of a key counts."""
    also: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Files of the other month tables, and the name of the inputs of each mart that it reads."""

    @property
    def name(self) -> str:
        return name_of(self.rules, self.facts, self.dimensions, self.as_of, *([self.also] if self.also else []))

    def files(self, pack: Pack) -> set[str]:
        """Return the files of month tables and dimensions."""
        return self.month_files(pack) | {path for _, paths in self.dimensions for path in paths}

    def month_files(self, pack: Pack) -> set[str]:
        """Return the files of month tables."""
        return {*self.facts, *(path for _, paths in self.months(pack) for path in paths)}

    def months(self, pack: Pack) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Return the files of the other month tables."""
        return tuple((name, paths) for name, paths in self.also if name in pack.months)


@dataclass(frozen=True)
class MartRows:
    """All rows of a mart, in key order."""

    mart: str
    inputs: Annotated[Inputs, Field(alias="made_from")]
    """The alias is the name in existing files."""
    finished: tuple[MartPart, ...]
    follows: str = ""
    """Fingerprint of the rows of an earlier build that it was compared with; empty if there were none."""
    changes: tuple[Change, ...] = ()
    """Differences from them."""
    fact_rows: int = 0
    """Rows of the month tables that a mart of keys reads; 0 if they were not counted."""
    split_rows: int = 0
    """The same when its keys were divided into parts; 0 if they were not counted."""

    @property
    def fingerprint(self) -> str:
        """Return the name of the inputs."""
        return self.inputs.name

    @property
    def rows(self) -> int:
        return sum(item.rows for item in self.finished)

    @property
    def cents(self) -> int:
        return sum(item.cents for item in self.finished)

    @property
    def erased_cents(self) -> int:
        return sum(item.erased_cents for item in self.finished)

    @property
    def guest_cents(self) -> int:
        return sum(item.guest_cents for item in self.finished)

    @property
    def figures(self) -> Figures:
        return together(item.figures for item in self.finished)

    @property
    def unknown(self) -> dict[str, int]:
        kinds = dict(self.finished[0].unknown) if self.finished else {}
        return {kind: sum(dict(item.unknown)[kind] for item in self.finished) for kind in kinds}

    @property
    def parts(self) -> list[tuple[Part, Patch | None]]:
        """Return the files in key order, each with the patch over it."""
        return [(part, item.patch) for item in self.finished for part in item.parts]

    @property
    def paths(self) -> set[str]:
        return {path for item in self.finished for path in item.paths}


_SAVED = TypeAdapter(MartRows)


def mart_folder(mart: str, fingerprint: str) -> str:
    return f"marts/{mart}/{fingerprint}"


def inputs_of(
    pack: Pack,
    mart: Mart,
    rollups: Sequence[RollUp],
    dimensions: Mapping[str, Sequence[str]],
    policy: Policy,
    as_of: date,
    last_counts: Collection[str],
    marts: Mapping[str, MartRows],
) -> Inputs:
    """Return the inputs of a mart; ``marts`` are those of earlier levels.

    ``dimensions`` are the files of each, in order of delivery, ``last_counts`` those of which the last row of a key
    counts.
    """
    used = {item.kind for item in mart.lookups}
    last = sorted(used & set(last_counts))
    columns = [(column.name, column.type, column.nullable, column.max_length) for column in mart.columns]
    numbers = numbers_of(pack, policy)
    more = filter(None, [mart.calculation, sorted(mart.columns_of.items())])
    rules = name_of(
        __version__,
        name_of(mart.sql, mart.stale, digest("money"), mart.key, columns, *more),
        policy.digest(),
        numbers,
        *([last] if last else []),
    )
    by_kind = tuple(sorted((kind, tuple(paths)) for kind, paths in dimensions.items() if kind in used))
    as_of = period_end(mart, numbers, as_of)
    read = _months_read(mart, rollups, as_of)
    also = tuple(
        (name, _files_of(name, read, as_of) if name in pack.months else (marts[name].fingerprint,))
        for name in mart.also
    )
    return Inputs(rules, _files_of(mart.reads, read, as_of), by_kind, as_of, tuple(last), also)


def _months_read(mart: Mart, rollups: Sequence[RollUp], as_of: date) -> list[RollUp]:
    """Return the months up to as_of that a mart reads."""
    first = month_after(as_of.replace(day=1), 1 - mart.last_months) if mart.last_months else date.min
    return [rollup for rollup in rollups if first <= rollup.starts <= as_of]


def _files_of(table: str, rollups: Sequence[RollUp], as_of: date) -> tuple[str, ...]:
    """Return the files of a month table; those of a month may have rows of later days, those of days are left out."""
    tables = ((rollup, own) for rollup in rollups for own in rollup.tables if own.name == table)
    return tuple(path for rollup, own in tables for path in rollup.files(own, as_of))


def plan_tasks(
    state: StoreAddress,
    pack: Pack,
    mart: Mart,
    of: Inputs,
    before: MartRows | None,
    policy: Policy,
    size: Size,
    marts: Mapping[str, MartRows],
) -> list[MartTask | MartPart]:
    """Divide a mart's rows into tasks: by ranges of keys of about equal size, by files of months, or all in one task.

    Ranges of an earlier build are kept, so that only differences are computed; its parts of months are kept as they
    are.
    """
    folder = mart_folder(mart.name, of.name)
    last = of.last_counts
    lowest, highest = all_keys(mart)
    whole = MartTask(pack, mart, 0, lowest, highest, folder, of.facts, of.dimensions, policy, of.as_of, state, last)
    whole = replace(
        whole,
        months=of.months(pack),
        marts=tuple((name, tuple(marts[name].parts)) for name in pack.tables_read(mart.name)),
    )
    if mart.per == "month":
        return list(_plan_months(whole, before))
    if before and mart.per == "all":
        return [replace(whole, earlier=tuple(before.parts))]
    if before:
        return list(_plan_patches(whole, before, marts, size))
    files = [path for paths in whole.files.values() for path in paths]
    borders = list[Key]()
    if mart.per == "key":
        borders = _borders(state.open(), mart.key[0], files, size.per_task) if mart.reads else _borders_of(whole)
    edges = [lowest, *borders, highest]
    return [replace(whole, number=n, low=low, high=high) for n, (low, high) in enumerate(pairwise(edges))]


def _plan_months(whole: MartTask, before: MartRows | None) -> Iterator[MartTask | MartPart]:
    """Yield, for each file of a table of months, the part of an earlier build, or the task that computes it."""
    known = dict(zip(before.inputs.facts, before.finished, strict=True)) if before else {}
    same = replaced_files(before, whole.facts) if before else {}
    for number, path in enumerate(whole.facts):
        earlier = tuple((part, None) for part in known[same[path]].parts) if path in same else None
        yield known.get(path) or replace(whole, number=number, facts=(path,), earlier=earlier)


def _plan_patches(whole: MartTask, before: MartRows, marts: Mapping[str, MartRows], size: Size) -> Iterator[MartTask]:
    """Group some parts that are not patched yet: computing a few rows of each is cheap.

    Each task opens all files of facts, so there are no more tasks than the rows that differ need.
    """
    was, number = before.inputs, 0
    comparable = all(_has_rows_of(marts[name], dict(was.also)[name][0]) for name, _ in whole.marts)
    alone = [len(item.parts) > 1 or item.patch is not None for item in before.finished]
    tasks = max(2, round(size.changed / (size.per_task * _PATCHED)))
    together = max(_TOGETHER, ceil(len(alone) / tasks))
    for _, same in groupby(range(len(alone)), key=lambda n: n if alone[n] else -1 - n // together):
        finished = tuple(before.finished[n] for n in same)
        parts = [part for item in finished for part in item.parts]
        months = was.months(whole.pack)
        built = Previous(finished, was.facts, was.dimensions, was.as_of, months, comparable)
        yield replace(whole, number=number, low=parts[0].low, high=parts[-1].high, previous=built)
        number += len(parts)


def unchanged(mart: Mart, of: Inputs, before: MartRows, marts: Mapping[str, MartRows]) -> MartRows | None:
    """Return the rows of an earlier build if all that they are computed from is the same; None if something differs.

    Another as_of changes only rows whose SQL reads it. ``marts`` are those of earlier levels.
    """
    was, others = before.inputs, dict(before.inputs.also)
    if replace(was, as_of=of.as_of, also=of.also) != of or others.keys() != dict(of.also).keys():
        return None
    if was.as_of != of.as_of and named_in(["as_of"], mart.sql):
        return None
    for name, paths in of.also:
        if paths != others[name] and not (name in marts and _has_rows_of(marts[name], others[name][0])):
            return None
    return replace(before, inputs=of, follows=before.fingerprint, changes=())


def _has_rows_of(rows: MartRows, fingerprint: str) -> bool:
    """Return whether a table has the rows of an earlier build; False if they were not compared."""
    return rows.fingerprint == fingerprint or (rows.follows == fingerprint and not rows.changes)


def _borders(store: Store, key: str, facts: Sequence[str], rows_per_task: int) -> list[Key]:
    """Choose borders between keys from the row group statistics of files of facts."""
    groups = [group for result in at_once(lambda path: _groups(store, key, path), facts) for group in result]
    total = sum(rows for _, rows in groups)
    tasks = max(1, round(total / rows_per_task))
    if tasks == 1:
        return []
    highest, rows = zip(*sorted(groups), strict=True)
    reached = np.cumsum(rows)
    places = np.searchsorted(reached, np.arange(1, tasks) * total / tasks)
    return sorted({_after(highest[min(int(place), len(highest) - 1)]) for place in places})


def _borders_of(whole: MartTask) -> list[Key]:
    """Return the borders of the parts of a table of keys that a mart without month tables reads."""
    read = next(files for name, files in whole.marts if whole.pack.reads_by_key(whole.mart, name))
    return sorted({part.low for part, _ in read} - {whole.low})


def _after(key: Key) -> Key:
    """Return the first key after one."""
    return f"{key}\0" if isinstance(key, str) else key + 1


def _groups(store: Store, key: str, path: str) -> list[tuple[Any, float]]:
    """Return the highest key and the number of rows of each row group; of whole numbers, of each quarter of it."""
    metadata = footer(store, path)
    column = metadata.schema.names.index(key)
    results = []
    for number in range(metadata.num_row_groups):
        rows, keys = metadata.row_group(number).num_rows, key_range(metadata, number, column)
        if rows and keys and isinstance(keys[0], str):
            results.append((keys[1], rows))
        elif rows and keys:
            low, high = keys
            results += [(low + (high - low) * quarter // 4, rows / 4) for quarter in range(1, 5)]
    return results


def replaced_files(before: MartRows, facts: Sequence[str]) -> dict[str, str]:
    """Return the files of a table of months that replace one of an earlier build: of equally divided months or days."""
    was, now = (_by_month(files) for files in (before.inputs.facts, facts))
    same = (zip(files, was[part], strict=True) for part, files in now.items() if len(files) == len(was.get(part, ())))
    return {path: old for files in same for path, old in files if path != old}


def _by_month(facts: Iterable[str]) -> dict[str, list[str]]:
    """Return the files of each month, or each of its days, in the order of their parts."""
    results: dict[str, list[str]] = defaultdict(list)
    for path in facts:
        _, month, folder, _ = path.split("/")
        results[f"{month}/{folder[:6] if folder.startswith('day-') else ''}"].append(path)
    return results


def files_exchanged(before: MartRows, now: MartRows) -> list[Change]:
    """Return the differences between two builds of a mart of months in files that replace none: whole files."""
    old, new = (dict(zip(rows.inputs.facts, rows.finished, strict=True)) for rows in (before, now))
    same = replaced_files(before, now.inputs.facts)
    kept = {*same.values(), *same, *(old.keys() & new.keys())}
    removed = [item for path, item in old.items() if path not in kept]
    added = [item for path, item in new.items() if path not in kept]
    return [Change(item.parts[0].path, "", item.rows, 0, 0) for item in removed] + [
        Change("", item.parts[0].path, 0, item.rows, item.cents) for item in added
    ]


def save_rows(store: Store, rows: MartRows) -> None:
    """Record that all parts of a mart are written."""
    saved = _SAVED.dump_json(rows, context={"names": True}, by_alias=True)
    store.put(f"{mart_folder(rows.mart, rows.fingerprint)}/done.json", saved)


def saved_rows(store: Store, mart: str, name: str, existing: AbstractSet[str]) -> MartRows | None:
    """Return the complete rows of a mart from an earlier run; None if there are none or an older version wrote them.

    They are compared with no other rows if a file of the differences is missing.
    """
    key = f"{mart_folder(mart, name)}/done.json"
    if key not in existing:
        return None
    try:
        rows = _SAVED.validate_json(store.get(key))
    except ValidationError as error:
        if {detail["type"] for detail in error.errors()} == {"missing"}:
            return None
        raise StateDamaged(f"is damaged: {error}", key, "the next build rebuilds it") from error
    if not rows.paths <= existing:
        return None
    differences = {path for item in rows.changes for path in item.paths}
    return rows if differences <= existing else replace(rows, follows="", changes=())


def size_of(store: Store, pack: Pack, of: Inputs, before: MartRows | None, rows_per_task: int) -> Size:
    """Count the rows of the month tables that a mart reads; only the files that differ are read."""
    counted = before if before and before.fact_rows else None
    now, was = of.month_files(pack), counted.inputs.month_files(pack) if counted else set[str]()

    def rows(path: str) -> int:
        return int(footer(store, path).num_rows)

    added, removed = (sum(at_once(rows, files)) for files in (now - was, was - now))
    return Size(rows_per_task, (counted.fact_rows if counted else 0) + added - removed, added + removed)


def has_outgrown(before: MartRows, size: Size) -> bool:
    """Return whether the parts of an earlier build would become too large with so many facts: a split is due."""
    fits, was = len(before.parts) * size.per_task * _GROWN, before.fact_rows or size.facts or 1
    has_more = size.facts > max(fits, (before.split_rows or was) * _MORE_FACTS)
    return has_more or max(before.rows * size.facts / was, before.rows) > fits


def rows_before(
    store: Store, pack: Pack, mart: Mart, of: Inputs, existing: AbstractSet[str], live: str
) -> MartRows | None:
    """Return rows of a mart computed by the same rules: those with the fingerprint ``live``, or else the newest.

    A mart of keys is patched: its earlier inputs must exist.
    """
    end = "/done.json"
    known = [v for v in store.versions(f"marts/{mart.name}") if v.key in existing and v.key.endswith(end)]
    known.sort(key=lambda v: (v.modified, v.key), reverse=True)
    names = [version.key.removesuffix(end).rpartition("/")[2] for version in known]
    for name in sorted(names, key=lambda name: name != live):  # a stable sort
        result = saved_rows(store, mart.name, name, existing)
        if not result or result.inputs.rules != of.rules:
            continue
        if mart.per != "key" or result.inputs.files(pack) <= existing:
            return result
    return None
