"""Measure the rows of a mart for Great Expectations: in parallel, from the files that are loaded.

Measures are stored beside the rows: of the next ones, only those that differ are measured.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter

from jobs.adapters.store.open import StoreAddress
from jobs.ports.store import Store
from jobs.state.parquet import read_parquet
from jobs.steps.mart_parts import Part, Patch
from jobs.steps.materialize import MartRows, mart_folder
from jobs.steps.materialize_task import rows_of
from marts.pack import DIGITS, Mart
from marts.quality.findings import Keys, Measured
from marts.quality.key_measures import settle, with_keys
from marts.quality.measures import exchanged, measure, merge, needed_columns
from marts.quality.rules import Rule
from marts.quality.values import Measure
from marts.rows.columns import Column, Frame, last_digits
from marts.rows.hashing import among, repeated

_BLOCK = 1 << 16
"""Rows measured at a time: more of them do not fit into the caches of a processor."""


@dataclass(frozen=True)
class MeasureTask:
    """A task: measure rows of a mart."""

    state: StoreAddress
    mart: Mart
    rules: tuple[Rule, ...]
    files: tuple[Part | str, ...]
    """Parts of the mart, or files of rows that differ from an earlier build."""
    patch: Patch | None = None
    """Patch over the parts."""
    repeats: np.ndarray | None = None
    """Hashes of keys: only rows with one of them are returned, with their values; all hashes without values if None."""


@dataclass(frozen=True)
class PartMeasured:
    """Measures of some rows, and the keys of the rules whose columns may have equal values in several parts."""

    measured: Measured
    keys: Mapping[str, Sequence[Keys]]
    """By the id of the rule."""


Run = Callable[[Sequence[MeasureTask]], Iterable[tuple[int, PartMeasured]]]
MEASURED = "measured-"
"""Start of the names of files with measures, beside the rows."""
_STORED = TypeAdapter(Measured)
_TOGETHER = 50
"""Maximum number of files of differing rows that one task measures."""


def measure_mart(
    state: StoreAddress,
    mart: Mart,
    rows: MartRows,
    before: MartRows | None,
    rules: Sequence[Rule],
    existing: AbstractSet[str],
    run: Run,
) -> Measured:
    """Return the measures of all rows of a mart, by the ids of the rules.

    Measures are stored: those of ``rows`` or of ``before``, rows of an earlier build, may be among the ``existing``
    files. If the rows were compared with ``before``, only those that differ are measured. ``run`` runs tasks and yields
    each result with its index.
    """
    bare = {rule.id: _bare(rule) for rule in rules}
    of_parts, of_all = ({r.id: r for r in bare.values() if _is_across(r, mart) == across} for across in (False, True))
    store, own = state.open(), tuple(of_parts.values())
    measured = _stored(store, rows, own, existing)
    if not measured:
        earlier = _stored(store, before, own, existing) if before and rows.follows == before.fingerprint else None
        measured = _continued(state, mart, rows, earlier, own, run) if earlier else None
        measured = measured or _of_parts(state, mart, rows, own, run)
        store.put(_path(rows, own), _STORED.dump_json(measured))
    if of_all:
        measured = _with_all(measured, state, mart, rows, tuple(of_all.values()), run)
    return replace(measured, rules={name: measured.rules[r.id] for name, r in bare.items() if r.id in measured.rules})


def _bare(rule: Rule) -> Rule:
    """Return a rule about all rows without its limits: its measure does not depend on them, and they change daily."""
    if rule.level != "drop":
        return rule
    return replace(rule, kwargs={name: value for name, value in rule.kwargs.items() if name == "column"})


def _is_across(rule: Rule, mart: Mart) -> bool:
    """Return whether rows of several parts may have equal values in a rule's columns: not in all columns of the key."""
    return rule.level == "key" and not set(mart.key) <= set(rule.columns)


def _path(rows: MartRows, rules: Sequence[Rule]) -> str:
    """Return where the measures of a mart's rows are stored."""
    name = hashlib.sha256(" ".join(rule.id for rule in rules).encode()).hexdigest()[:16]
    return f"{mart_folder(rows.mart, rows.fingerprint)}/{MEASURED}{name}.json"


def _stored(store: Store, rows: MartRows, rules: Sequence[Rule], existing: AbstractSet[str]) -> Measured | None:
    """Return the stored measures of a mart's rows; None if there are none or an older version wrote them."""
    path = _path(rows, rules)
    if path not in existing:
        return None
    try:
        return _STORED.validate_json(store.get(path))
    except ValueError:
        return None


def _of_parts(state: StoreAddress, mart: Mart, rows: MartRows, rules: tuple[Rule, ...], run: Run) -> Measured:
    """Measure all rows of a mart."""
    tasks = [MeasureTask(state, mart, rules, item.parts, item.patch) for item in rows.finished]
    parts = dict(run(tasks)) if tasks else {}
    header = Measured(columns=tuple(column.name for column in mart.columns))
    return merge([header, *(parts[number].measured for number in range(len(tasks)))])


def _continued(
    state: StoreAddress, mart: Mart, rows: MartRows, earlier: Measured, rules: tuple[Rule, ...], run: Run
) -> Measured | None:
    """Derive the measures of rows from those of an earlier build and of the rows that differ; None if impossible."""
    paths = (
        [item.removed for item in rows.changes if item.removed],
        [item.added for item in rows.changes if item.added],
    )
    groups = [[tuple(side[start : start + _TOGETHER]) for start in range(0, len(side), _TOGETHER)] for side in paths]
    tasks = [MeasureTask(state, mart, rules, group) for side in groups for group in side]
    results = dict(run(tasks)) if tasks else {}
    measured = [results[number].measured for number in range(len(tasks))]
    removed, added = measured[: len(groups[0])], measured[len(groups[0]) :]
    return exchanged(earlier, merge([Measured(), *removed]), merge([Measured(), *added]), rules)


def run_measure(task: MeasureTask) -> PartMeasured:
    """Measure the rows of one part in a worker."""
    store = task.state.open()
    settled = {rule.id for rule in task.rules if not _is_across(rule, task.mart)}
    names = sorted(needed_columns(task.rules)) or list(task.mart.key)  # rows are counted in any case
    blocks: list[Measured] = []
    keys: dict[str, list[Keys]] = {}
    before = 0
    for file in task.files:
        rows = (
            read_parquet(store, file, names)
            if isinstance(file, str)
            else rows_of(store, task.mart, file, task.patch, names)
        )
        for start in range(0, rows.num_rows, _BLOCK):
            block = _frame(task.mart, rows.slice(start, _BLOCK))
            result = measure(task.rules, block)
            blocks.append(result.measured)
            for item in result.keys:
                keys.setdefault(item.rule.id, []).append(replace(item, rows=item.rows + before))
            before += block.rows
    measured = merge([Measured(), *blocks])
    displayed = _displayed(task.mart)
    own = {name: settle(items, displayed) for name, items in keys.items() if name in settled}
    others = {name: _matching(items, task.repeats) for name, items in keys.items() if name not in settled}
    return PartMeasured(with_keys(measured, own), others)


def _matching(keys: Sequence[Keys], repeats: np.ndarray | None) -> list[Keys]:
    """Return the keys with one of some hashes, with their values; the hashes of all without values if None is given."""
    if repeats is None:
        return [replace(item, rows=item.rows[:0], values=item.values.slice(0, 0)) for item in keys]
    results = []
    for item in keys:
        own = among(item.hashes, repeats)
        values = item.values.filter(pa.array(own))
        results.append(replace(item, rows=item.rows[own], hashes=item.hashes[own], values=values))
    return results


def _with_all(
    measured: Measured, state: StoreAddress, mart: Mart, rows: MartRows, rules: Sequence[Rule], run: Run
) -> Measured:
    """Add the measures of rules about keys that several parts may have.

    The keys are hashed first; values are read again only for hashes that occur twice.
    """
    tasks = [MeasureTask(state, mart, tuple(rules), item.parts, item.patch) for item in rows.finished]
    first = [result for _, result in sorted(run(tasks), key=itemgetter(0))]
    counted = merge([Measured(), *(result.measured for result in first)])
    measured = replace(measured, rules={**measured.rules, **counted.rules})
    hashes = {r.id: [item.hashes for result in first for item in result.keys.get(r.id, ())] for r in rules}
    together = {name: np.concatenate([np.empty(0, np.uint64), *items]) for name, items in hashes.items()}
    results = {name: Measure(distinct=len(items)) for name, items in together.items()}
    repeats = {name: repeated(items) for name, items in together.items()}
    for rule in (rule for rule in rules if len(repeats[rule.id])):
        again = [replace(task, rules=(rule,), repeats=repeats[rule.id]) for task in tasks]
        keys: list[Keys] = []
        before = 0
        for _, result in sorted(run(again), key=itemgetter(0)):
            keys += [replace(item, rows=item.rows + before) for item in result.keys.get(rule.id, ())]
            before += result.measured.rows
        settled = settle(keys, _displayed(mart))
        looked_at = sum(len(item.hashes) for item in keys)
        distinct = len(together[rule.id]) - looked_at + settled.distinct
        results[rule.id] = replace(settled, distinct=distinct)
    return with_keys(measured, results)


def _displayed(mart: Mart) -> dict[str, tuple[int, bool]]:
    """Return each column's digits after the point, and whether it is personal."""
    return {column.name: (DIGITS.get(column.type, 0), column.personal) for column in mart.columns}


def _frame(mart: Mart, block: pa.Table) -> Frame:
    """Convert mart rows to what rules expect: decimals become integers in units of their last digit."""
    columns = {}
    for column in mart.columns:
        if column.name not in block.column_names:
            continue
        values, scale = block[column.name].combine_chunks(), DIGITS.get(column.type, 0)
        if scale:
            values = last_digits(values)
        elif pa.types.is_integer(values.type):
            values = values.cast(pa.int64())
        columns[column.name] = Column(values, scale, personal=column.personal)
    return Frame(block.num_rows, columns, tuple(column.name for column in mart.columns))
