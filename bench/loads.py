"""Compare ways to load the customers mart: the same rows, the same table, the same server settings.

`python -m bench.loads --all --rows N` starts a private server for each way in turn and prints a table for MariaDB, and
one for MySQL if it is installed (tests/mysql.sh).
`python -m bench.loads --way WAY --rows N --folder F --uri mysql://… [--pid SERVERPID]` runs one way in a process of
its own, so that its time and memory can be measured from outside. The last line printed is JSON:

==========  ======================================================================================================
job         seconds of the load alone, after imports, connections and, for Martwright, the start of a cluster.
            Converting Parquet to Python rows is included. LOAD DATA by hand reads a CSV file that exists already
rows        number of rows in the table
check       figures over all columns of the mart, computed by the server: equal for equal rows
cpu         CPU seconds of this process and its children during the job
server_cpu  CPU seconds of the server, if --pid names it, without its later background writes
==========  ======================================================================================================

The table is that of a build. Its primary key begins with a generation, which has a default, so that only Martwright
sends it. Every process also imports the code that creates this table, some 50 MiB that its own way may not need.
All but Martwright use the driver's C extension if it can be loaded: it escapes values twice as fast.
Times are not asserted.
"""

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import psutil

from bench.measure import measured
from bench.packs import compared
from marts.pack import Mart

if TYPE_CHECKING:
    import pyarrow as pa

    from jobs.adapters.warehouse.mysql import MySQLWarehouse
    from jobs.steps.load import Load

PART = 300_000
BATCH = 10_000
"""Rows per call, for ways that send rows."""
CHUNK = 1000
"""Rows per INSERT of pandas. Between 500 and 5,000 it makes no difference: SQLAlchemy names every single value."""
MONTHS = 10
PACK = compared("retail")
CUSTOMERS_MART = PACK.marts["customers"]
TABLE = f"{CUSTOMERS_MART.table}_rows"
NAMES = [column.name for column in CUSTOMERS_MART.columns]
SERVER = {
    "mariadb": ("--innodb-buffer-pool-size=2G", "--innodb-log-file-size=1G"),
    "mysql": ("--innodb-buffer-pool-size=2G", "--innodb-redo-log-capacity=1G"),
}
"""Server memory as an administrator would set it for tables of this size; otherwise the default configuration."""
LOAD_DATA = "--local-infile=1"
"""Allow LOAD DATA, which MySQL's default configuration forbids."""
SMALL = 100_000
"""Tables of fewer rows use the default memory."""
CSV, MADE = "customers.csv", "made"


@dataclass(frozen=True)
class Given:
    """Input of a way to load."""

    uri: str
    parts: Sequence[Path]
    """In key order."""
    load_data: bool = True
    """Whether Martwright may use LOAD DATA."""


Job = Callable[[], None]
Way = Callable[[Given], AbstractContextManager[Job]]
"""Context manager that prepares, then yields the job to time."""


def ours_by_insert(given: Given) -> AbstractContextManager[Job]:
    """Load as on a server that forbids LOAD DATA, which is MySQL's default."""
    return ours(replace(given, load_data=False))


@contextmanager
def ours(given: Given) -> Iterator[Job]:
    """Load the parts with a build's own `stage`, on a cluster whose workers have loaded before."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from jobs.adapters.ray.cluster import Cluster
    from jobs.adapters.store.open import StoreAddress
    from jobs.adapters.warehouse.mysql import MySQLWarehouse
    from jobs.config.settings import S3, MySQL, RaySettings, Settings
    from jobs.steps.mart_parts import MartPart, Part
    from jobs.steps.materialize import Inputs, MartRows
    from marts.compute.highlights import Figures

    settings = Settings(target=given.uri, mysql=MySQL(load_data=given.load_data), s3=S3())
    state = StoreAddress.of(str(given.parts[0].parent), settings.s3)
    parts = tuple(Part(path.name, 0, 0) for path in given.parts)
    count = sum(pq.read_metadata(path).num_rows for path in given.parts)
    control = [CUSTOMERS_MART.control]
    cents = sum(int(pc.sum(pq.read_table(path, columns=control)[0]).as_py() * 100) for path in given.parts)
    rows = MartRows(CUSTOMERS_MART.name, Inputs("", (), (), date.min), (MartPart(parts, count, cents, (), Figures()),))
    warehouse = MySQLWarehouse(given.uri, settings.mysql, PACK)
    with closing(warehouse), Cluster(RaySettings(address="local")) as cluster:
        warm(cluster.run, warehouse, settings, given.parts[0])
        yield lambda: load_all(warehouse, cluster.run, settings, state, rows)


def load_all(warehouse: "MySQLWarehouse", run: Callable[..., Any], settings: Any, state: Any, rows: Any) -> None:
    """Load all rows of a mart as a build does."""
    from jobs.steps.load import load, stage

    staged = stage(warehouse, PACK, [rows], "", {})
    load(warehouse, run, settings, state, staged, [rows], void, "")


def void(_: object) -> None:
    """Discard a value."""


def warm(run: Callable[..., Any], warehouse: "MySQLWarehouse", settings: Any, part: Path) -> None:
    """Let each worker load a few rows, then delete them: workers of a build are warm when it begins to load."""
    import pyarrow.parquet as pq

    from jobs.adapters.store.open import StoreAddress
    from jobs.state.parquet import write_parquet
    from jobs.steps.load import Load
    from jobs.steps.mart_parts import Part

    with tempfile.TemporaryDirectory(prefix="warm-") as folder:
        state = StoreAddress.of(folder, settings.s3)
        write_parquet(state.open(), part.name, pq.read_table(part).slice(0, 100))
        generation = warehouse.stage(CUSTOMERS_MART)
        few = (Part(part.name, 0, 0), None)
        load = Load(settings.target, settings.mysql, PACK, CUSTOMERS_MART.name, generation, few, state)
        list(run("Warm", load_slowly, [load] * warehouse.loaders, warehouse.loaders))
    make_empty(warehouse)


def load_slowly(work: "Load") -> None:
    """Load in a worker, and occupy it long enough that the next task needs another worker."""
    from jobs.steps.load import run_load

    run_load(work)
    time.sleep(2)


@contextmanager
def load_data_by_hand(given: Given) -> Iterator[Job]:
    """Let the server read one CSV file through one connection: the upper bound for one connection.

    The file exists on disk already. The time to create it is not counted.
    """
    path = given.parts[0].parent / CSV
    statement = load_statement(path, TABLE, NAMES)
    with closing(connect(given.uri)) as connection:

        def job() -> None:
            with connection.cursor() as cursor:
                cursor.execute(statement)
            connection.commit()

        yield job


@contextmanager
def executemany(given: Given) -> Iterator[Job]:
    """Pass batches of rows to the driver, which sends one INSERT per batch."""
    statement = f"INSERT INTO {TABLE} ({', '.join(NAMES)}) VALUES ({', '.join(['%s'] * len(NAMES))})"
    with closing(connect(given.uri)) as connection:

        def job() -> None:
            with connection.cursor() as cursor:
                for batch in batches(given.parts):
                    cursor.executemany(statement, list(zip(*batch.to_pydict().values(), strict=True)))
            connection.commit()

        yield job


@contextmanager
def sqlalchemy_core(given: Given) -> Iterator[Job]:
    """Pass batches of rows, as dictionaries, to SQLAlchemy Core."""
    from sqlalchemy import MetaData, Table, insert

    with engine_of(given.uri) as engine:
        statement = insert(Table(TABLE, MetaData(), autoload_with=engine))

        def job() -> None:
            with engine.begin() as connection:
                for batch in batches(given.parts):
                    connection.execute(statement, batch.to_pylist())

        yield job


@contextmanager
def pandas_to_sql(given: Given) -> Iterator[Job]:
    """Load one part after the other with pandas.to_sql."""
    import pandas as pd

    with engine_of(given.uri) as engine:

        def job() -> None:
            with engine.begin() as connection:
                for path in given.parts:
                    frame = pd.read_parquet(path)
                    frame.to_sql(TABLE, connection, if_exists="append", index=False, method="multi", chunksize=CHUNK)

        yield job


WAYS: dict[str, Way] = {
    "ours": ours,
    "ours, by INSERT": ours_by_insert,
    "LOAD DATA by hand": load_data_by_hand,
    "executemany": executemany,
    "SQLAlchemy": sqlalchemy_core,
    "pandas.to_sql": pandas_to_sql,
}


def connect(uri: str) -> Any:
    """Connect with the driver's defaults: it uses its C extension if that can be imported."""
    import mysql.connector

    parts = urlsplit(uri)
    return mysql.connector.connect(
        host=parts.hostname,
        port=parts.port,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=parts.path.strip("/"),
        autocommit=False,
        allow_local_infile=True,
    )


@contextmanager
def engine_of(uri: str) -> Iterator[Any]:
    """Yield an SQLAlchemy engine with a connection in its pool."""
    from sqlalchemy import create_engine

    engine = create_engine(f"mysql+mysqlconnector{uri.removeprefix('mysql')}")
    try:
        engine.connect().close()
        yield engine
    finally:
        engine.dispose()


def batches(parts: Sequence[Path]) -> Iterator["pa.RecordBatch"]:
    """Read the parts in batches, so that no way keeps more rows in memory than it sends."""
    import pyarrow.parquet as pq

    for path in parts:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(BATCH)


def make_parts(folder: Path, rows: int) -> list[Path]:
    """Write the parts of a mart in key order, and the same rows as one CSV file, unless they exist already."""
    paths = [folder / f"part-{number:05d}.parquet" for number in range(-(-rows // PART))]
    made, mark = folder / MADE, f"{rows} rows, {PART} a part"
    if not made.exists() or made.read_text() != mark:
        made.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        write_parts(paths, rows)
        made.write_text(mark)
    return paths


def write_parts(paths: Sequence[Path], rows: int) -> None:
    """Write parts as a build does, and a CSV file for LOAD DATA."""
    from jobs.adapters.store.open import open_store
    from jobs.config.settings import S3
    from jobs.state.parquet import write_parquet

    store = open_store(str(paths[0].parent), S3())

    def written() -> "Iterator[pa.Table]":
        for number, path in enumerate(paths):
            table = some_rows(number * PART, min(PART, rows - number * PART))
            write_parquet(store, path.name, table)
            yield table

    write_csv(paths[0].parent / CSV, CUSTOMERS_MART, written())


def write_csv(path: Path, mart: Mart, tables: "Iterable[pa.Table]") -> None:
    """Write rows of a mart as a CSV file for LOAD DATA: a NULL is \\N, a flag is 0 or 1."""
    import pyarrow as pa
    import pyarrow.csv as pacsv

    from marts.compute.engine import mart_schema

    declared = mart_schema(mart)
    schema = pa.schema([pa.field(f.name, pa.int8() if f.type == pa.bool_() else f.type) for f in declared])
    options = pacsv.WriteOptions(include_header=False, quoting_style="needed", null_string="\\N")
    with pacsv.CSVWriter(path, schema, write_options=options) as csv:
        for table in tables:
            csv.write_table(table.cast(declared).cast(schema))


def load_statement(path: Path, table: str, names: Sequence[str]) -> str:
    """Return the statement that loads such a file."""
    return (
        f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE {table} CHARACTER SET utf8mb4 "
        f"FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' ({', '.join(names)})"
    )


def some_rows(first: int, count: int) -> "pa.Table":
    """Generate rows of the customers mart in key order, ten months per customer; some nullable values are NULL."""
    import numpy as np
    import pyarrow as pa

    from marts.compute.engine import mart_schema

    at = np.arange(first, first + count)
    customers, random = at // MONTHS, np.random.default_rng(first)
    purchases = random.integers(1, 50, count)
    months = np.array([f"2024-{month:02d}" for month in range(1, MONTHS + 1)])

    def money(high: int, digits: int = 18, mask: Any = None) -> pa.Array:
        return pa.array(random.integers(0, high, count) / 100, mask=mask).cast(pa.decimal128(digits, 2))

    columns = {
        "customer_id": pa.array(customers + 1),
        "full_name": pa.array(np.char.add("Customer Number ", customers.astype(str))),
        "address": pa.array(np.char.add((customers % 180).astype(str), " Station Road"), mask=customers % 180 == 0),
        "phone_number": pa.array(np.char.add("+00 000 ", customers.astype(str))),
        "sales_date_month": pa.array(months[at % MONTHS]),
        "first_purchase_month": pa.array([months[0]] * count),
        "last_purchase_month": pa.array([months[-1]] * count),
        "purchase_frequency": pa.array(purchases),
        "avg_time_between_purchases": money(9000, 14, mask=purchases == 1),
        "inactive_status": pa.array(random.integers(0, 2, count) == 1),
        "customer_segment": pa.array(["Occasional Customer"] * count),
    }
    return pa.table([columns.get(name, money(10**7)) for name in NAMES], schema=mart_schema(CUSTOMERS_MART))


def make_empty(warehouse: "MySQLWarehouse") -> None:
    """Create the table of a build, or empty it if it exists. Exit if builds have written to the database."""
    warehouse.prepare()
    if warehouse.runs(1):
        sys.exit(f"{warehouse.where}: builds have written here; give a database of its own")
    warehouse.execute(f"TRUNCATE TABLE {TABLE}")
    warehouse.execute(f"ALTER TABLE {TABLE} ALTER COLUMN generation SET DEFAULT 1")


def check(warehouse: "MySQLWarehouse") -> tuple[int, str]:
    """Count the rows, and let the server compute a checksum over all columns: any different value changes it."""
    told = ", ".join(f"COALESCE({name}, '\\\\N')" for name in NAMES)
    ((rows, sums, sales),) = warehouse.execute(
        f"SELECT COUNT(*), SUM(CRC32(CONCAT_WS('|', {told}))), SUM(total_sales) FROM {TABLE}"
    )
    return int(rows), f"{sums} {sales}"


def cpu_of(tree: psutil.Process, children: bool = True) -> float:
    """Sum the CPU seconds of a process and its children."""
    total = 0.0
    for process in [tree, *(tree.children(recursive=True) if children else [])]:
        with suppress(psutil.Error):  # the process ended meanwhile
            times = process.cpu_times()
            total += times.user + times.system
    return total


def run_way(name: str, given: Given, server: int | None) -> dict[str, Any]:
    """Run a way on an empty table, and return its figures."""
    from jobs.adapters.warehouse.mysql import MySQLWarehouse
    from jobs.config.settings import MySQL

    with closing(MySQLWarehouse(given.uri, MySQL(), PACK)) as warehouse:
        make_empty(warehouse)
        with WAYS[name](given) as job:
            took = timed(job, server)
        rows, sums = check(warehouse)
    return {**took, "rows": rows, "check": sums}


def timed(job: Job, server: int | None) -> dict[str, float | None]:
    """Run a job; return its seconds, and the CPU seconds of the client and of the server."""
    me, other = psutil.Process(), psutil.Process(server) if server else None
    here, there, began = cpu_of(me), cpu_of(other, False) if other else 0.0, time.perf_counter()
    job()
    seconds = time.perf_counter() - began
    used = round(cpu_of(other, False) - there, 2) if other else None
    return {"job": round(seconds, 3), "cpu": round(cpu_of(me) - here, 2), "server_cpu": used}


def compare_servers(rows: int, kinds: Sequence[str] = tuple(SERVER)) -> None:
    """Print a table for each installed server."""
    for kind in kinds:
        version = servers().version_of_kind(kind)
        if version:
            print(f"\n{version}")
            compare(rows, kind)
        else:
            print(f"\nno {kind} is there: tests/mysql.sh unpacks MySQL")


def compare(rows: int, kind: str) -> None:
    """Run each way as a process, on a private server of its own, and print the figures."""
    print(f"{rows:,} rows, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    print(f"{'':<18}{'job s':>8}{'rows/s':>10}{'CPU s':>8}{'server':>8}{'wall s':>8}{'peak MiB':>10}")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        make_parts(Path(folder), rows)
        checks = {name: compare_one(name, rows, folder, kind) for name in WAYS}
    if len(set(checks.values())) > 1:
        sys.exit("the rows are not equal:\n" + "\n".join(f"{name}: {sums}" for name, sums in checks.items()))
    print("equal rows in all")


def compare_one(name: str, rows: int, folder: str, kind: str) -> str:
    """Run one way and print its line. The server is new, so no way pays for background writes of another."""
    with server(kind, [LOAD_DATA, *(SERVER[kind] if rows >= SMALL else ())]) as (database, pid):
        uri = database.make_database("bench")
        arguments = ["--way", name, "--rows", str(rows), "--folder", folder, "--uri", uri, "--pid", str(pid)]
        found = measured([sys.executable, "-m", "bench.loads", *arguments])
    told = found.told
    speed = told["rows"] / told["job"]
    print(
        f"{name:<18}{told['job']:>8.2f}{speed:>10,.0f}{told['cpu']:>8.1f}{told['server_cpu']:>8.1f}"
        f"{found.seconds:>8.1f}{found.peak / 2**20:>10,.0f}",
        flush=True,
    )
    return f"{told['rows']} {told['check']}"


def servers() -> Any:
    """Return the module of the tests' real servers: private, on free ports, with their own data."""
    tests = str(Path(__file__).parent.parent / "tests")
    if tests not in sys.path:
        sys.path.insert(0, tests)
    return importlib.import_module("support.servers")


@contextmanager
def server(kind: str, options: Sequence[str]) -> Iterator[tuple[Any, int]]:
    """Start a database server; yield it and its process id."""
    with tempfile.TemporaryDirectory(prefix="sql-", dir="/tmp") as folder:
        database, daemon = servers().sql_server(Path(folder), options, kind)
        daemon.start()
        try:
            yield database, daemon.process.pid
        finally:
            daemon.kill()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.loads", description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--all", action="store_true", help="run all ways, each on a private server of each kind")
    what.add_argument("--way", choices=WAYS, help="run one")
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--folder", type=Path, help="with the parts, or to make them in")
    parser.add_argument("--uri", help="mysql://user:password@host:port/database of a database for this alone")
    parser.add_argument("--pid", type=int, help="process id of the server")
    arguments = parser.parse_args()
    if arguments.all:
        compare_servers(arguments.rows)
        return
    if not arguments.folder or not arguments.uri:
        parser.error("--way needs --folder and --uri")
    with suppress(ImportError):
        # The driver's C extension brings a newer OpenSSL than Python's own, so it must be loaded first.
        import _mysql_connector  # noqa: F401
    parts = make_parts(arguments.folder.absolute(), arguments.rows)
    told = run_way(arguments.way, Given(arguments.uri, parts), arguments.pid)
    if told["rows"] != arguments.rows:
        sys.exit(f"{told['rows']:,} of {arguments.rows:,} rows arrived")
    print(json.dumps(told))


if __name__ == "__main__":
    main()
