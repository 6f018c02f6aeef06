"""The last step, publish: load both marts unseen, check them, make them live in one transaction."""

from collections.abc import Callable
from dataclasses import dataclass

from jobs.adapters.cluster import Runner
from jobs.adapters.objects import Store, open_store
from jobs.finish import MartRows
from jobs.finish_task import Part, Patch, rows_of
from jobs.ledger import Staged, Warehouse
from jobs.settings import S3, MySQL, Settings
from marts.errors import Defect, UsageError
from marts.schema import MARTS


@dataclass(frozen=True)
class Load:
    """One task: load one part of a mart."""

    target: str
    mysql: MySQL
    mart: str
    generation: int
    part: Part
    patch: Patch | None
    state: str
    s3: S3


def open_warehouse(uri: str, settings: MySQL, read_only: bool = False, wait: float = 0) -> Warehouse:
    """Open a target by its address; wait up to ``wait`` seconds for a file that another process has open."""
    if uri.startswith("duckdb:"):
        from jobs.adapters.warehouse_duckdb import DuckDBWarehouse

        return DuckDBWarehouse(uri, read_only, wait)
    if uri.startswith("mysql:"):
        from jobs.adapters.mysql.warehouse import MySQLWarehouse

        return MySQLWarehouse(uri, settings)
    raise UsageError(
        f"{uri.partition(':')[0]!r} is no kind of target",
        "--target",
        "write duckdb:///path/file.duckdb or mysql://user[:password]@host:port/database",
    )


def run_load(work: Load) -> int:
    """Load one part, in a worker. Gives how many rows it has."""
    warehouse = open_warehouse(work.target, work.mysql)
    try:
        rows = rows_of(open_store(work.state, work.s3), work.part, work.patch)
        if rows:
            warehouse.load(MARTS[work.mart], work.generation, rows)
        return int(rows.num_rows)
    finally:
        warehouse.close()


def stage(
    warehouse: Warehouse,
    runner: Runner,
    settings: Settings,
    store: Store,
    rows: MartRows,
    progress: Callable[[int], None],
    run_id: str,
    inputs: str,
) -> Staged:
    """Load a mart as a generation that no reader sees, and check that every row arrived once.

    Raises Fenced if another run has begun meanwhile: it removes what is staged.
    """
    mart = MARTS[rows.mart]
    generation = warehouse.stage(mart)
    if warehouse.loaders:
        work = [
            Load(settings.target or "", settings.mysql, rows.mart, generation, *part, store.uri, settings.s3)
            for part in rows.parts
        ]
        for _, count in runner(f"Load{mart.name.title().replace('_', '')}", run_load, work, warehouse.loaders):
            progress(count)
    else:
        for part in rows.parts:
            made = rows_of(store, *part)
            if made:
                warehouse.load(mart, generation, made)
            progress(made.num_rows)
    arrived = warehouse.count(mart, generation)
    if arrived != rows.rows:
        warehouse.check_fence(run_id)
        raise Defect(f"{arrived:,} of {rows.rows:,} rows arrived in {mart.table}", "target", "run again")
    return Staged(mart, generation, rows.fingerprint, rows.rows, inputs)
