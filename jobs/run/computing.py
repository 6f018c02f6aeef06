"""Stages settle, roll up and materialize: compute the rows of the marts from clean rows."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import date

import pyarrow as pa

from jobs.ports.records import Generation
from jobs.ports.store import at_once
from jobs.run.context import Run
from jobs.run.stages import Known, RolledUp
from jobs.state.manifest import Manifest
from jobs.state.parquet import read_parquet
from jobs.steps.alike import Shared, look_alike
from jobs.steps.check_ids import check_ids
from jobs.steps.contents import Memory
from jobs.steps.derive import levels_of, plan_level, read_digests
from jobs.steps.fall import DayTotals
from jobs.steps.histories import Dimensions, run_history
from jobs.steps.mart_parts import Finished, MartPart, MartTask
from jobs.steps.materialize import (
    MartRows,
    Size,
    files_exchanged,
    has_outgrown,
    inputs_of,
    plan_tasks,
    rows_before,
    save_rows,
    saved_rows,
    size_of,
    unchanged,
)
from jobs.steps.materialize_task import run_mart_task
from jobs.steps.repair import accepted_by
from jobs.steps.resolve import DropCounts, Resolved
from jobs.steps.rollup import Calculations, RollUp, plan_rollups
from jobs.steps.rollup_task import run_rollup
from jobs.steps.rollup_work import RollUpWork
from jobs.steps.settle import Settled, plan_settling, read_settled, run_settle
from marts.compute.identity import Identity
from marts.errors import DataError

_IDS = 3
"""Number of ids in a warning."""


def settle_and_roll_up(run: Run, resolved: Resolved, known: Known) -> RolledUp:
    """Roll up and hold drops that look like the same days again, until no drop does."""
    memory = Memory.of(known.ledger)
    accepted = accepted_by(known.decisions, memory.contents, alike=True)
    paths, computed = set(known.paths), list[RollUp]()
    while True:
        rollups, missing = _roll_up(run, resolved, paths, known.paths)
        computed += missing
        paths |= {path for rollup in missing for path in rollup.paths}
        counts, days = _drop_counts(run, rollups, resolved.live_facts)
        resolved = resolved.with_counts(counts)
        held = look_alike(resolved, _shared(run, rollups), memory.live, accepted)
        if not held:
            used = tuple(rollup for rollup in rollups if rollup.starts <= run.as_of)
            return RolledUp(resolved, used, tuple(rollup for rollup in computed if rollup in rollups), days)
        resolved = resolved.with_counts(dict.fromkeys(counts, DropCounts())).holding(held)


def ambiguous_ids(run: Run, resolved: Resolved) -> tuple[str, ...]:
    """Warn of ids that several transactions share, if the policy states that ids are unique."""
    if run.policy.transaction_ids != "unique":
        return ()
    with run.step("check ids"):
        shared = check_ids(run.state, resolved.live_facts, run.identities, _IDS)
    return tuple(
        f"{item.count:,} ids of {item.identity.fact.name} are live under several values of "
        f"{', '.join(item.identity.owners)} or in several months, such as "
        f"{', '.join(str(row[item.identity.fact.id]) for row in item.largest)}: `marts check ids` lists them"
        for item in shared
        if item.count
    )


def _shared(run: Run, rollups: Sequence[RollUp]) -> Shared:
    """Add up the lines without ids that two drops share, over all months."""
    lines: Counter[frozenset[str]] = Counter()
    for table in _facts(run, rollups, "shared"):
        for row in table.to_pylist():
            lines[frozenset((row["delivery"], row["other"]))] += row["lines"]
    return Shared(lines)


def _facts(run: Run, rollups: Sequence[RollUp], name: str) -> list[pa.Table]:
    return at_once(lambda rollup: read_parquet(run.state, rollup.path(name)), rollups)


def _roll_up(
    run: Run, resolved: Resolved, existing: set[str], of_earlier_runs: AbstractSet[str]
) -> tuple[list[RollUp], list[RollUp]]:
    """Compute the missing facts. Return the tasks of all months, and those computed now."""
    live = resolved.live_facts
    calculations = Calculations.of(run.pack, run.policy)

    def settle(identity: Identity, months: Collection[str]) -> Settled:
        return _settle(run, live, identity, existing, months)

    limit = run.settings.limits.rollup_lines
    rollups = plan_rollups(live, run.as_of, limit, calculations, settle, of_earlier_runs)
    if not (rollups if run.pack.facts else resolved.dimensions):
        hint = "`marts plan` shows what is wrong with each drop; the live marts are untouched"
        raise DataError("no drop has a usable line", run.source.uri, hint)
    missing = [rollup for rollup in rollups if not rollup.paths <= existing]
    _compute(run, missing, of_earlier_runs)
    return rollups, missing


def _settle(
    run: Run, live: Sequence[Manifest], identity: Identity, existing: set[str], months: Collection[str]
) -> Settled:
    """Return which lines of a fact count in some months, for transactions that span months or days."""
    limit, state = run.settings.limits.rollup_lines, run.scan_settings.state
    tasks = plan_settling(live, limit, identity, run.as_of, state, months, existing)
    missing = [task for task in tasks if not task.paths <= existing]
    run.ready(missing)
    with run.step("settle", len(missing)):
        for _, lines in run.runner("SettleTransactions", run_settle, missing):
            run.progress.advance(lines)
    return read_settled(run.state, tasks, live)


def derive(run: Run, rolled_up: RolledUp, dimensions: Dimensions, paths: AbstractSet[str]) -> RolledUp:
    """Compute the tables of months that read other months or dimensions, level by level."""
    months, computed, digests = list(rolled_up.months), list[RollUp](), dict[str, str]()
    calculations = Calculations.of(run.pack, run.policy)
    for level in range(1, levels_of(run.pack)):
        digests |= read_digests(run.state, (rollup for rollup in months if rollup.level == level - 1))
        tasks = plan_level(level, months, run.pack, calculations, dimensions, digests)
        missing = [task for task in tasks if not task.paths <= paths]
        _compute(run, missing, paths)
        months += tasks
        computed += missing
    return replace(rolled_up, months=tuple(months), computed=(*rolled_up.computed, *computed))


def _compute(run: Run, tasks: Sequence[RollUp], of_earlier_runs: AbstractSet[str]) -> None:
    """Run tasks that compute tables of months; days of them that an earlier run computed are kept."""
    # Newest months first: they are usually the largest, and small tasks at the end let all workers end together.
    work = [RollUpWork.of(task, run.scan_settings.state, of_earlier_runs) for task in reversed(tasks)]
    run.ready(tasks, sum(item.lines for item in work) / run.settings.limits.rollup_lines)
    with run.step("roll up", len(tasks)):
        for _, lines in run.runner("RollUp", run_rollup, work):
            run.progress.advance(lines)


def _drop_counts(
    run: Run, rollups: Sequence[RollUp], live: Sequence[Manifest]
) -> tuple[dict[str, DropCounts], dict[str, DayTotals]]:
    """Add up the counts of the months: per origin of a drop, and per fact and day."""
    counts: dict[str, DropCounts] = defaultdict(DropCounts)
    totals: dict[str, dict[date, tuple[int, int]]] = {name: {} for name in run.identities}
    facts = {manifest.origin: manifest.delivery.kind for manifest in live}
    for table in _facts(run, rollups, "drops"):
        for row in table.to_pylist():
            origin, day = row.pop("delivery"), row.pop("day")
            result = DropCounts(**{name: int(value) for name, value in row.items()})
            days = totals[facts[origin]]
            lines, cents = days.get(day, (0, 0))
            days[day] = (lines + result.counted, cents + result.counted_cents)
            if day > run.as_of:
                result = replace(result, counted=0, counted_cents=0, guests=0, guest_cents=0)
            counts[origin] += result
    return dict(counts), {fact: DayTotals(days) for fact, days in totals.items()}


def fold_versions(run: Run, live: Sequence[Manifest], paths: AbstractSet[str]) -> Dimensions:
    """Return the dimensions of live drops; compute the missing histories."""
    dimensions = Dimensions.of(live, run.scan_settings, run.as_of, paths)
    missing = [history for history in dimensions.histories if history.days]
    run.ready(missing)
    if missing:
        with run.step("fold versions", len(missing)):
            for _, rows in run.runner("FoldVersions", run_history, missing):
                run.progress.advance(rows)
    return dimensions


def materialize(
    run: Run, rolled_up: RolledUp, dimensions: Dimensions, paths: AbstractSet[str], live: Mapping[str, Generation]
) -> tuple[MartRows, ...]:
    """Compute the rows of the marts in parallel, unless an earlier run has computed the same.

    A table that reads others is computed after these, which may be no marts.
    """
    rows: dict[str, MartRows] = {}
    fingerprints = {name: generation.fingerprint for name, generation in live.items()}
    for level in run.pack.levels([run.settings.mart] if run.settings.mart else run.pack.computed):
        rows |= _materialize(run, level, rolled_up, dimensions, rows, paths, fingerprints)
    return tuple(rows[name] for name in run.pack.tables if name in rows)


def _materialize(
    run: Run,
    names: Sequence[str],
    rolled_up: RolledUp,
    dimensions: Dimensions,
    read: Mapping[str, MartRows],
    paths: AbstractSet[str],
    live: Mapping[str, str],
) -> dict[str, MartRows]:
    """Compute the rows of marts that read none of each other; ``read`` are those that they may read.

    ``live`` are the fingerprints of the live rows, which new ones are compared with.
    """
    marts = [run.pack.tables[name] for name in names]
    of_all = (rolled_up.months, dimensions.files, run.policy, run.as_of, dimensions.last_counts, read)
    inputs = {mart.name: inputs_of(run.pack, mart, *of_all) for mart in marts}
    saved = {name: saved_rows(run.state, name, inputs[name].name, paths) for name in names}
    results = {name: rows for name, rows in saved.items() if rows}
    before: dict[str, MartRows | None] = {}
    sizes: dict[str, Size] = {}
    planned: dict[str, list[MartTask | MartPart]] = {}
    limit, state = run.settings.limits.finish_rows, run.scan_settings.state
    # The last marts of a pack first: those in one task take the longest.
    for mart in (mart for mart in reversed(marts) if mart.name not in results):
        own = inputs[mart.name]
        earlier = rows_before(run.state, run.pack, mart, own, paths, live.get(mart.name, ""))
        if earlier and (same := unchanged(mart, own, earlier, read)):
            results[mart.name] = same
            save_rows(run.state, same)
            continue
        size = Size(limit)
        if mart.per == "key":
            size = size_of(run.state, run.pack, own, earlier, limit)
            if earlier and has_outgrown(earlier, size):
                size, earlier = size.split_like(earlier), None
        before[mart.name], sizes[mart.name] = earlier, size
        planned[mart.name] = plan_tasks(state, run.pack, mart, own, earlier, run.policy, size, read)
    tasks = [item for items in planned.values() for item in items if isinstance(item, MartTask)]
    lines = {path: rollup.rows for rollup in rolled_up.months for path in rollup.paths}
    run.ready(tasks, sum(min(1.0, task.size(lines) / run.settings.limits.rollup_lines) for task in tasks))
    ended: dict[tuple[str, int], Finished] = {}
    if planned:
        with run.step("materialize", len(tasks)):
            for index, result in run.runner("FinishMarts", run_mart_task, tasks):
                ended[tasks[index].place] = result
                run.progress.advance(result.part.rows)
            for name, items in planned.items():
                finished = [Finished(item) if isinstance(item, MartPart) else ended[item.place] for item in items]
                parts, facts = tuple(item.part for item in finished), sizes[name].facts
                rows = MartRows(name, inputs[name], parts, fact_rows=facts, split_rows=facts)
                if earlier := before[name]:
                    by_months = run.pack.tables[name].per == "month"
                    changes = files_exchanged(earlier, rows) if by_months else []
                    changes += [change for item in finished for change in item.changes]
                    split = earlier.split_rows or facts
                    rows = replace(rows, follows=earlier.fingerprint, changes=tuple(changes), split_rows=split)
                results[name] = rows
                save_rows(run.state, rows)
    return results
