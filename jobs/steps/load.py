"""Last step, publish: load both marts where no reader sees them, check them, make them live in one transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from jobs.adapters.store.open import StoreAddress
from jobs.adapters.warehouse.open import open_warehouse
from jobs.adapters.warehouse.sql_tables import total_of
from jobs.config.settings import MySQL, Settings
from jobs.ports.records import Staged
from jobs.ports.runner import Runner
from jobs.ports.warehouse import Warehouse
from jobs.steps.mart_parts import Part, Patch
from jobs.steps.materialize import MartRows
from jobs.steps.materialize_task import rows_of
from marts.errors import DataError, Defect, NotShown, ServiceError, Transient
from marts.pack import Mart, Pack


@dataclass(frozen=True)
class Load:
    """A task: load one part of a mart."""

    target: str
    mysql: MySQL
    pack: Pack
    mart: str
    generation: int
    part: Part
    patch: Patch | None
    state: StoreAddress


def run_load(work: Load) -> int:
    """Load one part in a worker. Return its number of rows."""
    warehouse = open_warehouse(work.target, work.mysql, work.pack)
    try:
        rows = rows_of(work.state.open(), work.pack.marts[work.mart], work.part, work.patch)
        if rows:
            warehouse.load(work.pack.marts[work.mart], work.generation, rows)
        return int(rows.num_rows)
    finally:
        warehouse.close()


def stage(
    warehouse: Warehouse,
    runner: Runner,
    settings: Settings,
    state: StoreAddress,
    marts: Sequence[MartRows],
    progress: Callable[[int], None],
    run_id: str,
    inputs: str,
) -> list[Staged]:
    """Load marts as generations that no reader sees, and check that every row arrived once.

    Parts are loaded in parallel, those of a mart in key order. Raise Fenced if another run has begun meanwhile: that
    run removes the staged rows.
    """
    pack = settings.domain
    staged = [
        Staged(pack.marts[rows.mart], warehouse.stage(pack.marts[rows.mart]), rows.fingerprint, rows.rows, inputs)
        for rows in marts
    ]
    parts = [
        (item.mart, item.generation, *part) for item, rows in zip(staged, marts, strict=True) for part in rows.parts
    ]
    if warehouse.loaders:
        work = [
            Load(settings.target or "", settings.mysql, pack, mart.name, generation, part, patch, state)
            for mart, generation, part, patch in parts
        ]
        for _, count in runner("LoadMarts", run_load, work, warehouse.loaders):
            progress(count)
    else:
        for mart, generation, part, patch in parts:
            built = rows_of(state.open(), mart, part, patch)
            if built:
                warehouse.load(mart, generation, built)
            progress(built.num_rows)
    for item, rows in zip(staged, marts, strict=True):
        arrived, total = warehouse.count(item.mart, item.generation)
        if (arrived, total) != (item.rows, _total(item.mart, rows)):
            warehouse.check_fence(run_id)
            _require_keys(state, item.mart, rows)
            what = f"{arrived:,} rows of {total:,.2f} in all arrived in {item.mart.table}"
            sent = f"{item.rows:,} rows of {_total(item.mart, rows):,.2f} were sent"
            raise Defect(f"{what}; {sent}", "target", "run `marts build` again")
    return staged


def _require_keys(state: StoreAddress, mart: Mart, rows: MartRows) -> None:
    """Raise DataError if several rows of a mart have one key: the last of them replaced the others."""
    store, key = state.open(), list(mart.key)
    keys = pa.concat_tables([rows_of(store, mart, part, patch).select(key) for part, patch in rows.parts])
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
    """Read the published marts through their public names: rows, sum of total_sales and run id.

    One query per mart. Skip a mart that was rolled back meanwhile. Raise NotShown if readers see anything other than
    what was staged.
    """
    live = warehouse.live()
    for item, rows in zip(staged, marts, strict=True):
        if item.mart.name not in live or live[item.mart.name].generation != item.generation:
            continue
        query = f"SELECT COUNT(*), {total_of(item.mart)}, MIN(run_id), MAX(run_id) FROM {item.mart.table}"
        try:
            ((count, total, first, last),) = warehouse.execute(query)
        except Transient:
            raise
        except ServiceError as error:
            raise _not_shown(item, f"readers cannot read it: {error.what}") from error
        visible = {run_id} if not item.rows else {str(first), str(last)}
        wanted = _total(item.mart, rows)
        if (int(count), Decimal(total), visible) != (item.rows, wanted, {run_id}):
            runs = " and ".join(sorted(visible))
            seen = f"readers see {int(count):,} rows of {Decimal(total):,.2f} in all, of run {runs}"
            raise _not_shown(item, f"{seen}; {item.rows:,} rows of {wanted:,.2f} were staged by run {run_id}")


def _total(mart: Mart, rows: MartRows) -> Decimal:
    """Return the sum of a mart's control column; 0 if it has none."""
    return Decimal(rows.cents) / 100 if mart.control else Decimal(0)


def _not_shown(item: Staged, seen: str) -> NotShown:
    hint = (
        f"another object replaced the view {item.mart.table} of Martwright, or its rows were changed: "
        "correct that, then run `marts build` to publish again"
    )
    return NotShown(f"{item.mart.table} does not show what was published: {seen}", "target", hint)
