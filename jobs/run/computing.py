"""Stages settle, roll up and materialize: compute the rows of the marts from clean rows."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date

import pyarrow as pa

from jobs.ports.store import REQUESTS_AT_ONCE
from jobs.run.context import Run
from jobs.run.stages import Known, RolledUp
from jobs.state.manifest import Manifest
from jobs.state.parquet import read_parquet
from jobs.steps.alike import Shared, look_alike
from jobs.steps.check_ids import check_ids
from jobs.steps.contents import Memory
from jobs.steps.fall import DayTotals
from jobs.steps.mart_parts import MartPart, MartTask
from jobs.steps.materialize import MartRows, inputs_of, plan_tasks, rows_before, save_rows, saved_rows
from jobs.steps.materialize_task import run_mart_task
from jobs.steps.repair import accepted_by
from jobs.steps.resolve import DropCounts, Resolved
from jobs.steps.rollup import RollUp, RollUpWork, plan_rollups, run_rollup
from jobs.steps.settle import Settled, plan_settling, read_settled, run_settle
from marts.compute.numbers import Numbers
from marts.errors import DataError

_IDS = 3
"""Number of ids in a warning."""


def settle_and_roll_up(run: Run, resolved: Resolved, known: Known) -> RolledUp:
    """Roll up and hold drops that look like the same days again, until no drop does."""
    memory = Memory.of(known.ledger)
    accepted = accepted_by(run.warehouse.decisions(), memory.contents, alike=True)
    paths, computed = set(known.paths), list[RollUp]()
    while True:
        rollups, missing = _roll_up(run, resolved.live_sales, paths)
        computed += missing
        paths |= {path for rollup in missing for path in rollup.paths}
        counts, days = _drop_counts(run, rollups)
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
        count, rows = check_ids(run.state, resolved.live_sales, run.identity, _IDS)
    displayed = ", ".join(str(row[run.identity.fact.id]) for row in rows)
    owners = ", ".join(run.identity.owners)
    words = (
        f"{count:,} transaction ids are live under several values of {owners} or in several months, such as {displayed}"
    )
    return (f"{words}: `marts check ids` lists them",) if count else ()


def _shared(run: Run, rollups: Sequence[RollUp]) -> Shared:
    """Add up the lines without ids that two drops share, over all months."""
    lines: Counter[frozenset[str]] = Counter()
    for table in _facts(run, rollups, "shared"):
        for row in table.to_pylist():
            lines[frozenset((row["delivery"], row["other"]))] += row["lines"]
    return Shared(lines)


def _facts(run: Run, rollups: Sequence[RollUp], name: str) -> list[pa.Table]:
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        return list(pool.map(lambda rollup: read_parquet(run.state, rollup.path(name)), rollups))


def _roll_up(run: Run, live: Sequence[Manifest], existing: set[str]) -> tuple[list[RollUp], list[RollUp]]:
    """Compute the missing facts. Return the tasks of all months, and those computed now."""
    marks = None if run.identity.within_month else _settle(run, live, existing)
    rollups = plan_rollups(
        live,
        run.as_of,
        run.settings.limits.rollup_lines,
        tuple(run.pack.months.values()),
        run.identity,
        Numbers.of(run.pack, run.policy),
        marks,
    )
    if not rollups:
        hint = "`marts plan` shows what is wrong with each drop; the live marts are untouched"
        raise DataError("no drop has a usable line", run.source.uri, hint)
    missing = [rollup for rollup in rollups if not rollup.paths <= existing]
    run.ready(missing, sum(rollup.rows for rollup in missing) / run.settings.limits.rollup_lines)
    with run.step("roll up", len(missing)):
        # Newest months first: they are usually the largest, and small tasks at the end let all workers end together.
        work = [RollUpWork(rollup, run.scan_settings.state) for rollup in reversed(missing)]
        for _, lines in run.runner("RollUp", run_rollup, work):
            run.progress.advance(lines)
    return rollups, missing


def _settle(run: Run, live: Sequence[Manifest], existing: set[str]) -> Settled:
    """Return which lines count, for transactions that span months."""
    tasks = plan_settling(live, run.settings.limits.rollup_lines, run.identity, run.as_of, run.scan_settings.state)
    missing = [task for task in tasks if not task.paths <= existing]
    run.ready(missing)
    with run.step("settle", len(missing)):
        for _, lines in run.runner("SettleTransactions", run_settle, missing):
            run.progress.advance(lines)
    return read_settled(run.state, tasks, live)


def _drop_counts(run: Run, rollups: Sequence[RollUp]) -> tuple[dict[str, DropCounts], DayTotals]:
    """Add up the counts of the months: per origin of a drop, and per day."""
    counts: dict[str, DropCounts] = defaultdict(DropCounts)
    days: dict[date, tuple[int, int]] = {}
    for table in _facts(run, rollups, "drops"):
        for row in table.to_pylist():
            origin, day = row.pop("delivery"), row.pop("day")
            result = DropCounts(**{name: int(value) for name, value in row.items()})
            lines, cents = days.get(day, (0, 0))
            days[day] = (lines + result.counted, cents + result.counted_cents)
            if day > run.as_of:
                result = replace(result, counted=0, counted_cents=0, guests=0, guest_cents=0)
            counts[origin] += result
    return dict(counts), DayTotals(days)


def materialize(run: Run, rolled_up: RolledUp, paths: AbstractSet[str]) -> tuple[MartRows, ...]:
    """Compute the rows of the marts in parallel, unless an earlier run has computed the same."""
    names = [run.settings.mart] if run.settings.mart else list(run.pack.marts)
    dimensions = rolled_up.resolved.dimensions
    last = {m.delivery.kind for m in dimensions if run.scan_settings.block(m.delivery.key).duplicates == "last"}
    of_all = (rolled_up.months, dimensions, run.policy, run.as_of, last)
    inputs = {name: inputs_of(run.pack, run.pack.marts[name], *of_all) for name in names}
    saved = {name: saved_rows(run.state, name, inputs[name].name, paths) for name in names}
    tasks: list[MartTask] = []
    limit = run.settings.limits.finish_rows
    for name in (name for name in reversed(names) if not saved[name]):
        before = rows_before(run.state, name, inputs[name], paths, limit) if run.pack.marts[name].per == "key" else None
        what = (run.pack.marts[name], inputs[name], before, run.policy, limit)
        tasks += plan_tasks(
            run.scan_settings.state, run.pack, *what
        )  # the one task of the sales team first: it is the longest
    run.ready(tasks)
    parts: dict[int, MartPart] = {}
    if tasks:
        with run.step("materialize", len(tasks)):
            for index, part in run.runner("FinishMarts", run_mart_task, tasks):
                parts[index] = part
                run.progress.advance(part.rows)
            for name in dict.fromkeys(task.mart.name for task in tasks):
                own = tuple(parts[index] for index, task in enumerate(tasks) if task.mart.name == name)
                rows = saved[name] = MartRows(name, inputs[name], own)
                save_rows(run.state, rows)
    return tuple(rows for rows in saved.values() if rows)
