"""Measure the rows of a mart for Great Expectations: in parallel, from the files that are loaded.

The measures of each file are stored beside the rows: a file that did not change is not read again.
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
from jobs.steps.mart_parts import MartPart, Part, Patch
from jobs.steps.materialize import MartRows, mart_folder
from jobs.steps.materialize_task import rows_of
from marts.pack import DIGITS, Mart
from marts.quality.findings import Keys, Measured
from marts.quality.key_measures import settle, with_keys
from marts.quality.measures import measure, merge, needed_columns
from marts.quality.rules import Rule
from marts.quality.values import Measure
from marts.rows.columns import Column, Frame, last_digits
from marts.rows.hashing import among, repeated

_BLOCK = 1 << 16
"""Rows measured at a time: more of them do not fit into the caches of a processor."""


@dataclass(frozen=True)
class MeasureTask:
    """A task: measure the rows of one part of a mart."""

    state: StoreAddress
    mart: Mart
    rules: tuple[Rule, ...]
    part: MartPart
    repeats: np.ndarray | None = None
    """Hashes of keys: only rows with one of them are returned, with their values; all hashes without values if None."""


@dataclass(frozen=True)
class PartMeasured:
    """Measures of a part, and the keys of the rules whose columns may have equal values in several parts."""

    measured: Measured
    keys: Mapping[str, Sequence[Keys]]
    """By the id of the rule."""


Run = Callable[[Sequence[MeasureTask]], Iterable[tuple[int, PartMeasured]]]
_Files = tuple[tuple[Part, ...], Patch | None]
MEASURED = "measured-"
"""Start of the names of files with measures, beside the rows."""
_STORED = TypeAdapter(tuple[Measured, ...])


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

    Measures of parts are stored: those of ``rows`` or of ``before``, rows of an earlier build, may be among the
    ``existing`` files. ``run`` runs tasks and yields each result with its index.
    """
    bare = {rule.id: _bare(rule) for rule in rules}
    of_parts, of_all = ({r.id: r for r in bare.values() if _is_across(r, mart) == across} for across in (False, True))
    store = state.open()
    known: dict[_Files, Measured] = {}
    for earlier in (before, rows):
        known |= _stored(store, earlier, of_parts, existing) if earlier else {}
    parts = [item for item in rows.finished if _files(item) not in known]
    tasks = [MeasureTask(state, mart, tuple(of_parts.values()), item) for item in parts]
    for index, result in run(tasks) if tasks else ():
        known[_files(parts[index])] = result.measured
    measured = tuple(known[_files(item)] for item in rows.finished)
    if tasks:
        store.put(_path(rows, of_parts), _STORED.dump_json(measured))
    merged = merge([Measured(columns=tuple(column.name for column in mart.columns)), *measured])
    if of_all:
        merged = _with_all(merged, state, mart, rows, tuple(of_all.values()), run)
    return replace(merged, rules={name: merged.rules[r.id] for name, r in bare.items() if r.id in merged.rules})


def _bare(rule: Rule) -> Rule:
    """Return a rule about all rows without its limits: its measure does not depend on them, and they change daily."""
    if rule.level != "drop":
        return rule
    return replace(rule, kwargs={name: value for name, value in rule.kwargs.items() if name == "column"})


def _is_across(rule: Rule, mart: Mart) -> bool:
    """Return whether rows of several parts may have equal values in a rule's columns: not in all columns of the key."""
    return rule.level == "key" and not set(mart.key) <= set(rule.columns)


def _files(part: MartPart) -> _Files:
    return part.parts, part.patch


def _path(rows: MartRows, rules: Iterable[str]) -> str:
    """Return where the measures of a mart's rows are stored, by the ids of the rules."""
    name = hashlib.sha256(" ".join(rules).encode()).hexdigest()[:16]
    return f"{mart_folder(rows.mart, rows.fingerprint)}/{MEASURED}{name}.json"


def _stored(store: Store, rows: MartRows, rules: Iterable[str], existing: AbstractSet[str]) -> dict[_Files, Measured]:
    """Return the stored measures of a mart's parts; none if an older version wrote them."""
    path = _path(rows, rules)
    if path not in existing:
        return {}
    try:
        return dict(zip(map(_files, rows.finished), _STORED.validate_json(store.get(path)), strict=True))
    except ValueError:
        return {}


def run_measure(task: MeasureTask) -> PartMeasured:
    """Measure the rows of one part in a worker."""
    store = task.state.open()
    settled = {rule.id for rule in task.rules if not _is_across(rule, task.mart)}
    names = sorted(needed_columns(task.rules)) or list(task.mart.key)  # rows are counted in any case
    blocks: list[Measured] = []
    keys: dict[str, list[Keys]] = {}
    before = 0
    for part in task.part.parts:
        rows = rows_of(store, task.mart, part, task.part.patch, names)
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
    tasks = [MeasureTask(state, mart, tuple(rules), item) for item in rows.finished]
    first = [result for _, result in sorted(run(tasks), key=itemgetter(0))]
    counted = merge([Measured(), *(result.measured for result in first)])
    measured = replace(measured, rules={**measured.rules, **counted.rules})
    hashes = {r.id: [item.hashes for result in first for item in result.keys.get(r.id, ())] for r in rules}
    together = {name: np.concatenate([np.empty(0, np.uint64), *items]) for name, items in hashes.items()}
    results = {name: Measure(distinct=len(items)) for name, items in together.items()}
    repeats = {name: repeated(items) for name, items in together.items()}
    again = [rule for rule in rules if len(repeats[rule.id])]
    for rule in again:
        tasks = [MeasureTask(state, mart, (rule,), item, repeats[rule.id]) for item in rows.finished]
        keys: list[Keys] = []
        before = 0
        for _, result in sorted(run(tasks), key=itemgetter(0)):
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
