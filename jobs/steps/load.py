"""Last step, publish: load marts, or the rows that differ, where no reader sees them, and check that they arrived."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from jobs.adapters.store.open import StoreAddress
from jobs.adapters.warehouse.open import open_warehouse
from jobs.config.settings import MySQL, Settings
from jobs.ports.records import Generation, Staged
from jobs.ports.runner import Runner
from jobs.ports.warehouse import Warehouse
from jobs.state.parquet import read_tables
from jobs.steps.mart_parts import Change, Part, Patch
from jobs.steps.materialize import MartRows
from jobs.steps.materialize_task import rows_in, rows_of
from marts.compute.engine import empty_mart
from marts.compute.patch import LARGEST
from marts.errors import DataError, Defect, MartsError, NotShown, ServiceError, Transient
from marts.pack import Mart, Pack

_log = logging.getLogger("marts.load")
_TOGETHER = 100_000
"""Rows of a patch that one task loads; a single change may have more."""


@dataclass(frozen=True)
class Load:
    """A task: load some rows of a mart."""

    target: str
    mysql: MySQL
    pack: Pack
    mart: str
    generation: int
    files: tuple[Part, Patch | None] | tuple[Change, ...]
    """A part of the mart, or differences from the live rows."""
    state: StoreAddress

    def into(self, warehouse: Warehouse) -> int:
        """Load the rows. Return their number."""
        store, mart = self.state.open(), self.pack.marts[self.mart]
        if isinstance(self.files[0], Part):
            part, patch = self.files
            rows = rows_of(store, mart, part, patch)
            if rows:
                warehouse.load(mart, self.generation, rows)
            return int(rows.num_rows)
        changes = self.files
        removed, added = (
            pa.concat_tables([empty_mart(mart), *read_tables(store, filter(None, paths))])
            for paths in ([item.removed for item in changes], [item.added for item in changes])
        )
        warehouse.load_patch(mart, self.generation, removed, added)
        return int(removed.num_rows + added.num_rows)


def run_load(work: Load) -> int:
    """Load rows in a worker. Return their number."""
    warehouse = open_warehouse(work.target, work.mysql, work.pack)
    try:
        return work.into(warehouse)
    finally:
        warehouse.close()


def stage(
    warehouse: Warehouse, pack: Pack, marts: Sequence[MartRows], inputs: str, live: Mapping[str, Generation]
) -> list[Staged]:
    """Number new generations of marts: if few rows differ from the ``live`` ones, a patch over these."""
    return [_staged(warehouse, pack, rows, _over(rows, live), inputs) for rows in marts]


def tasks_of(
    settings: Settings, state: StoreAddress, staged: Sequence[Staged], marts: Sequence[MartRows]
) -> list[Load]:
    """Return the tasks that load marts, or the rows that differ; those of a mart in key order."""
    return [
        Load(settings.target or "", settings.mysql, settings.domain, item.mart.name, item.generation, files, state)
        for item, rows in zip(staged, marts, strict=True)
        for files in (_groups(rows.changes) if item.over else rows.parts)
    ]


def load(
    warehouse: Warehouse,
    runner: Runner,
    settings: Settings,
    state: StoreAddress,
    staged: Sequence[Staged],
    marts: Sequence[MartRows],
    progress: Callable[[int], None],
    run_id: str,
) -> list[Staged]:
    """Load marts, or the rows that differ, where no reader sees them, and check that every row arrived once.

    A patch that does not fit to the live rows is replaced by a load of all rows. Raise Fenced if another run has begun
    meanwhile: that run removes the staged rows.
    """
    try:
        _run(warehouse, runner, tasks_of(settings, state, staged, marts), progress)
    except MartsError:
        warehouse.check_fence(run_id)  # another run has removed the tables
        raise
    results = []
    for item, rows in zip(staged, marts, strict=True):
        loaded, arrived = item, warehouse.count(item)
        if item.over and (arrived != _sent(item, rows) or not warehouse.fits(item)):
            warehouse.check_fence(run_id)
            # Somebody changed the rows in the target: they are replaced.
            _log.warning("%s: its rows are not those that were published; all are loaded", item.mart.table)
            loaded = _staged(warehouse, settings.domain, rows, None, item.inputs)
            _run(warehouse, runner, tasks_of(settings, state, [loaded], [rows]), progress)
            arrived = warehouse.count(loaded)
        if arrived != _sent(loaded, rows):
            warehouse.check_fence(run_id)
            _require_keys(state, item.mart, rows)
            what, sent = (f"{n:,} rows of {total:,.2f} in all" for n, total in (arrived, _sent(loaded, rows)))
            hint = "run `marts build` again"
            raise Defect(f"{what} arrived in {item.mart.table}, {sent} were sent", "target", hint)
        results.append(loaded)
    return results


def _run(warehouse: Warehouse, runner: Runner, work: Sequence[Load], progress: Callable[[int], None]) -> None:
    """Load rows, in parallel if the target allows it."""
    if warehouse.loaders:
        for _, count in runner("LoadMarts", run_load, work, warehouse.loaders) if work else ():
            progress(count)
    else:
        for task in work:
            progress(task.into(warehouse))


def _over(rows: MartRows, live: Mapping[str, Generation]) -> Generation | None:
    """Return the live generation of a mart if so few rows differ from it that only these need to be loaded."""
    generation = live.get(rows.mart)
    if not generation or not rows.follows or generation.fingerprint != rows.follows:
        return None
    differ = max(sum(item.added_rows for item in rows.changes), sum(item.removed_rows for item in rows.changes))
    return generation if differ * LARGEST <= rows.rows else None


def _staged(warehouse: Warehouse, pack: Pack, rows: MartRows, over: Generation | None, inputs: str) -> Staged:
    mart = pack.marts[rows.mart]
    number = warehouse.stage_patch(mart) if over else warehouse.stage(mart)
    return Staged(mart, number, rows.fingerprint, rows.rows, inputs, over)


def _groups(changes: Sequence[Change]) -> Iterator[tuple[Change, ...]]:
    """Group changes of few rows: a task opens a connection."""
    group: list[Change] = []
    rows = 0
    for item in changes:
        rows += item.added_rows + item.removed_rows
        if group and rows > _TOGETHER:
            yield tuple(group)
            group, rows = [], item.added_rows + item.removed_rows
        group.append(item)
    if group:
        yield tuple(group)


def _sent(item: Staged, rows: MartRows) -> tuple[int, Decimal]:
    """Return the number of rows that were sent to the target, and the sum of their control column, 0 if it has none.

    Of a patch, those that it adds.
    """
    count = sum(change.added_rows for change in rows.changes) if item.over else rows.rows
    cents = sum(change.added_cents for change in rows.changes) if item.over else rows.cents
    return count, Decimal(cents) / 100 if item.mart.control else Decimal(0)


def _require_keys(state: StoreAddress, mart: Mart, rows: MartRows) -> None:
    """Raise DataError if several rows of a mart have one key: the last of them replaced the others."""
    store, key = state.open(), list(mart.key)
    keys = rows_in(store, mart, rows.parts, key)
    counts = keys.group_by(key).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1)).sort_by([(name, "ascending") for name in key])
    if repeated.num_rows:
        first = ", ".join(f"{name} {value}" for name, value in repeated.select(key).slice(0, 1).to_pylist()[0].items())
        over = " of all months: a column month may be in it" if mart.per == "month" else ""
        raise DataError(
            f"{repeated.num_rows:,} keys of {mart.table} have several rows, such as {first}",
            f"tables.{mart.name}",
            f"its key must distinguish its rows{over}: correct key or SQL in the pack; the live marts are untouched",
        )


def read_back(warehouse: Warehouse, staged: Sequence[Staged], marts: Sequence[MartRows], run_id: str) -> None:
    """Read the rows that were loaded through the public names of their marts: number, control total and run id.

    One query per mart. Skip a mart that was rolled back meanwhile. Raise NotShown if readers see anything other than
    what was staged.
    """
    live = warehouse.live()
    for item, rows in zip(staged, marts, strict=True):
        if item.mart.name not in live or live[item.mart.name].generation != item.generation:
            continue
        try:
            count, total, runs = warehouse.visible(item)
        except Transient:
            raise
        except ServiceError as error:
            raise _not_shown(item, f"readers cannot read it: {error.what}") from error
        sent, wanted = _sent(item, rows)
        if (count, total) != (sent, wanted) or runs - {run_id}:
            names = f", of run {' and '.join(sorted(runs))}" if runs else ""
            seen = f"readers see {count:,} rows of {total:,.2f} in all{names}"
            raise _not_shown(item, f"{seen}; {sent:,} rows of {wanted:,.2f} were staged by run {run_id}")


def _not_shown(item: Staged, seen: str) -> NotShown:
    hint = (
        f"another object replaced the view {item.mart.table} of Martwright, or its rows were changed: "
        "correct that, then run `marts build` to publish again"
    )
    return NotShown(f"{item.mart.table} does not show what was published: {seen}", "target", hint)
