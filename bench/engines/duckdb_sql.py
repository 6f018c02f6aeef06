"""DuckDB: one SQL script, as a DuckDB user would write it for speed and exact money."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from bench.engines.contract import Order, main


@contextmanager
def ready(order: Order) -> Iterator[duckdb.DuckDBPyConnection]:
    spill = order.folder("spill")
    config = {
        "threads": order.cores,
        "temp_directory": str(spill),
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
    }
    with duckdb.connect(":memory:", config=config) as engine:
        yield engine


def job(order: Order, engine: duckdb.DuckDBPyConnection) -> None:
    values = {
        "sales": order.sales(),
        "customers": str(order.dimension("customers")),
        "sales_team": str(order.dimension("sales_team")),
        "as_of": order.as_of.isoformat(),
    }
    for name, value in values.items():
        engine.execute(f"SET VARIABLE {name} = ?", [value])
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    for name in ("lines", "quarantine", "customers", "sales_team"):
        script = script.replace("{" + name + "}", str(order.folder(name)))
    engine.execute(script)


if __name__ == "__main__":
    main(job, ready)
