"""DuckDB: SQL scripts over whole tables, as a DuckDB user would write them for speed and exact money.

Types are what TRY_CAST accepts. Drops that break the rules of a whole drop (a key twice in a snapshot), and settings of
a source (other headers, seconds instead of milliseconds), are not handled.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from bench.banking.dimensions import DIMENSIONS
from bench.banking.drops import runs_of_one_header
from bench.engines.contract import Order, main
from marts.packs import shipped

SCRIPTS = Path(__file__).parent / "sql"


@contextmanager
def ready(order: Order) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a database in memory; rows keep their order, since the last of a key counts."""
    spill = order.folder("spill")
    config = {"threads": order.cores, "temp_directory": str(spill), "autoinstall_known_extensions": False}
    with duckdb.connect(":memory:", config=config) as engine:
        yield engine


def job(order: Order, engine: duckdb.DuckDBPyConnection) -> None:
    engine.execute("SET VARIABLE as_of = ?", [order.as_of.isoformat()])
    lines = {kind: rows_of(order.delivered(kind)) for kind in ("transactions", "ledger_entries")}
    run(engine, "lines", {"quarantine": str(order.folder("quarantine")), **lines})
    folders = {name: str(order.folder(name)) for name in shipped("banking").marts}
    for dimension in DIMENSIONS:
        snapshots = order.snapshots(dimension.kind)
        paths = [path for _, path in snapshots]
        engine.execute(f"SET VARIABLE {dimension.kind} = ?::VARCHAR[]", [list(map(str, paths))])
        engine.execute(
            f"SET VARIABLE {dimension.kind}_days = ?::VARCHAR[]", [[day.isoformat() for day, _ in snapshots]]
        )
        run(engine, "history", {"drops": rows_of(paths), **dimension.placeholders()})
        run(engine, "dimensions", {"folder": folders[dimension.table], **dimension.placeholders()})
    for script in ("facts", "summaries", "ledger", "report"):
        run(engine, script, folders)


def rows_of(paths: Sequence[Path]) -> str:
    """Return the SQL of the rows of drops in this order, as text.

    Drops that follow each other with the same header are read together. DuckDB would spend seconds to detect the format
    of hundreds of files.
    """
    options = "auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"', filename = 'drop_name'"
    reads = []
    for header, group in runs_of_one_header(paths):
        names = ", ".join(f"'{path}'" for path in group)
        columns = ", ".join(f"'{name}': 'VARCHAR'" for name in header)
        reads.append(f"FROM read_csv([{names}], columns = {{{columns}}}, {options})")
    return " UNION ALL BY NAME ".join(reads) or "SELECT NULL::VARCHAR AS drop_name WHERE false"


def run(engine: duckdb.DuckDBPyConnection, script: str, values: dict[str, str]) -> None:
    """Run a script with values in place of its names in braces."""
    text = (SCRIPTS / f"{script}.sql").read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    engine.execute(text)


if __name__ == "__main__":
    main(job, ready)
