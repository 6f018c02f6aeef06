"""DuckDB: SQL scripts over whole tables, as a DuckDB user would write them for speed and exact money.

Types are what TRY_CAST accepts. Drops that break the rules of a whole drop (a key twice in a snapshot), and settings of
a source (other headers, seconds instead of milliseconds), are not handled.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from bench.banking.dimensions import DIMENSIONS
from bench.engines.contract import Order, main
from marts.packs import shipped

SCRIPTS = Path(__file__).parent / "sql"
LINES = ("transactions", "ledger_entries")


@contextmanager
def ready(order: Order) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a database in memory; rows keep their order, since the last of a key counts."""
    spill = order.folder("spill")
    config = {"threads": order.cores, "temp_directory": str(spill), "autoinstall_known_extensions": False}
    with duckdb.connect(":memory:", config=config) as engine:
        yield engine


def job(order: Order, engine: duckdb.DuckDBPyConnection) -> None:
    engine.execute("SET VARIABLE as_of = ?", [order.as_of.isoformat()])
    for kind in LINES:
        engine.execute(f"SET VARIABLE {kind} = ?", [[str(path) for path in order.delivered(kind)]])
    run(engine, "lines", {"quarantine": str(order.folder("quarantine"))})
    folders = {name: str(order.folder(name)) for name in shipped("banking").marts}
    for dimension in DIMENSIONS:
        snapshots = order.snapshots(dimension.kind)
        engine.execute(f"SET VARIABLE {dimension.kind} = ?", [[str(path) for _, path in snapshots]])
        engine.execute(f"SET VARIABLE {dimension.kind}_days = ?", [[day.isoformat() for day, _ in snapshots]])
        run(engine, "history", dimension.placeholders())
        run(engine, "dimensions", {**dimension.placeholders(), "folder": folders[dimension.table]})
    for script in ("facts", "summaries", "ledger", "report"):
        run(engine, script, folders)


def run(engine: duckdb.DuckDBPyConnection, script: str, values: dict[str, str]) -> None:
    """Run a script with values in place of its names in braces."""
    text = (SCRIPTS / f"{script}.sql").read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    engine.execute(text)


if __name__ == "__main__":
    main(job, ready)
