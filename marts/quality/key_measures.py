"""Duplicate keys: detected by hash, resolved over all blocks of a drop."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marts.quality.findings import Keys, Measured
from marts.quality.row_measures import ignored_rows
from marts.quality.rule_types import UNIQUE_TOGETHER
from marts.quality.rules import Rule
from marts.quality.values import SAMPLES, Measure
from marts.rows.columns import Column, Frame, Mask
from marts.rows.hashing import among, hash_rows, repeated


def measure_keys(rule: Rule, frame: Frame, within: Mask | None) -> tuple[Measure, Keys]:
    """Hash the keys of a block."""
    columns = {name: frame.columns[name] for name in rule.columns}
    if rule.type == UNIQUE_TOGETHER:
        ignored, _ = ignored_rows(rule.kwargs, frame, ("column_list",))
    else:
        ignored = next(iter(columns.values())).null
    rows = None
    if within is not None:
        rows = int(within.sum())
        ignored = None if ignored is None else ignored & within
    looked_at = np.ones(frame.rows, bool) if within is None else within
    if ignored is not None:
        looked_at = looked_at & ~ignored
    table = pa.table({name: column.values for name, column in columns.items()})
    if not looked_at.all():
        table = table.filter(pa.array(looked_at))
    hashes = hash_rows(table) if table.num_rows else np.empty(0, np.uint64)
    built = Measure(rows, 0 if ignored is None else int(ignored.sum()))
    return built, Keys(rule, np.flatnonzero(looked_at), hashes, table)


def settle(parts: Sequence[Keys], frame: Mapping[str, tuple[int, bool]]) -> Measure:
    """Find the duplicate keys. Rows whose hash is unique are not compared again.

    ``frame`` maps each column to its digits after the point and whether it is personal. Return counts only: `rows` and
    `missing` of the measure are those of `measure`.
    """
    hashes = np.concatenate([np.empty(0, np.uint64), *(part.hashes for part in parts)])
    repeats = repeated(hashes)
    if not len(repeats):
        return Measure(distinct=len(hashes))
    tables, places = [], []
    for part in parts:
        own = among(part.hashes, repeats)
        tables.append(part.values.filter(pa.array(own)))
        places.append(part.rows[own])
    keys = pa.concat_tables(tables)
    rows = np.concatenate(places)
    names = keys.column_names
    numbered = keys.append_column("#", pa.array(np.arange(keys.num_rows)))
    groups = numbered.group_by(names, use_threads=False).aggregate([("#", "count"), ("#", "list")])
    counts = groups["#_count"].to_numpy()
    again = groups.filter(pa.array(counts > 1))
    distinct = len(hashes) - int((counts - 1).sum())
    if not again.num_rows:
        return Measure(distinct=distinct)
    members = np.sort(pc.list_flatten(again["#_list"]).to_numpy())
    first = members[np.argsort(rows[members], kind="stable")][:SAMPLES]
    displayed = {
        name: Column(keys[name].combine_chunks(), scale, personal=personal)
        for name, (scale, personal) in frame.items()
        if name in names
    }
    samples = tuple((int(rows[place]), tuple(displayed[name].show(int(place)) for name in names)) for place in first)
    return Measure(unexpected=len(members), samples=samples, distinct=distinct)


def with_keys(measured: Measured, results: Mapping[str, Measure]) -> Measured:
    """Add the results of `settle`, by rule id."""
    rules = dict(measured.rules)
    for name, built in results.items():
        before = rules.get(name, Measure())
        rules[name] = replace(before, unexpected=built.unexpected, samples=built.samples, distinct=built.distinct)
    return replace(measured, rules=rules)


def add_up(parts: Sequence[Measure]) -> Measure:
    """Merge the results of `settle` for several hash ranges."""
    samples = sorted((sample for part in parts for sample in part.samples), key=lambda sample: sample[0])[:SAMPLES]
    unexpected, distinct = sum(part.unexpected for part in parts), sum(part.distinct for part in parts)
    return Measure(unexpected=unexpected, samples=tuple(samples), distinct=distinct)
