"""A day, from the drop in S3 until both marts are live in MariaDB: seconds, rows written, and bytes of redo.

A history is built once; then days of new lines come. Martwright loads the rows that differ on some days, and then all
rows on as many. The others read all drops again, from a local folder, write both marts, and load them by LOAD DATA
into new tables, which they exchange with those of the day before. Rows and redo are the server's own counts.
"""

import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from bench import drops, loads
from bench.measure import Measured, measured
from bench.packs import LEFT_OUT, compared
from marts.pack import Mart

PACK = compared("retail")
OURS = "Martwright, rows that differ"
WHOLE = "Martwright, all rows loaded"
_STATUS, _REDO = "SHOW GLOBAL STATUS WHERE Variable_name", "Innodb_os_log_written"
_ROWS = ("Handler_write", "Handler_update", "Handler_delete")
"""Rows of tables that are not temporary."""
_POLL = 0.25
"""Seconds between two looks for a publication."""
_LOAD_ALL = "import jobs.steps.load; jobs.steps.load.LARGEST = 10**12; from jobs.cli.app import main; main()"
"""A build for which even one row that differs is too large a part of a mart to be loaded alone."""
_BUILD = "from jobs.cli.app import main; main()"


@dataclass(frozen=True)
class Day:
    """What a day cost."""

    seconds: float
    rows: int
    """Rows that the server inserted, updated or deleted."""
    redo: int
    """Bytes."""


@dataclass(frozen=True)
class Place:
    """Drops in S3 and in a folder, and a database."""

    store: Any
    database: Any
    bucket: str
    local: Path
    target: str
    environment: Mapping[str, str]

    def deliver(self, number: int, lines: int) -> None:
        """Put the drop of a day into the bucket and the folder."""
        self.upload(drops.add(self.local, lines, number))

    def upload(self, path: Path) -> None:
        """Put a drop of the folder into the bucket."""
        key = f"drops/{path.relative_to(self.local).as_posix()}"
        self.store.client().upload_file(str(path), self.bucket, key)

    def build(self, code: str = _BUILD, as_of: date = drops.TODAY, pack: str = PACK.name) -> Measured:
        """Build with a new process."""
        places = ["--source", f"s3://{self.bucket}/drops", "--state", f"s3://{self.bucket}/state"]
        arguments = [*places, "--target", self.target, "--as-of", as_of.isoformat(), "--pack", pack]
        return measured([sys.executable, "-c", code, "build", *arguments], self.environment)

    def figures(self, database: str) -> list[tuple[Any, ...]]:
        """Return figures of both marts, equal for equal rows."""
        figures = list[tuple[Any, ...]]()
        for mart in PACK.marts.values():
            row = f"CONCAT_WS('|', {', '.join((*mart.key, mart.control))})"
            of_rows = f"COUNT(*), SUM({mart.control}), SUM(CRC32({row}))"
            figures += self.database.run(f"SELECT {of_rows} FROM {database}.{mart.table}")
        return figures

    def steps(self) -> str:
        """Return the seconds of each step of the last build, as its report has them."""
        ((report,),) = self.database.run("SELECT report FROM ours.marts_runs ORDER BY started_at DESC LIMIT 1")
        return ", ".join(f"{step} {took:.1f}" for step, took in json.loads(report)["seconds"].items())

    @contextmanager
    def watched(self) -> Iterator[list[float]]:
        """Yield a list of the times at which readers saw new rows; they are added while it is in use."""
        times, over = list[float](), threading.Event()

        def watch() -> None:
            newest = self._publications()
            while not over.wait(_POLL):
                before, newest = newest, self._publications()
                if newest != before:
                    times.append(time.perf_counter())

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield times
        finally:
            over.set()
            thread.join()

    def _publications(self) -> int:
        """Return the number of publications; none before the first build creates their table."""
        table = "information_schema.tables WHERE table_schema = 'ours' AND table_name = 'marts_publications'"
        if not self.database.run(f"SELECT 1 FROM {table}"):
            return 0
        return int(self.database.run("SELECT COUNT(DISTINCT number) FROM ours.marts_publications")[0][0])

    def timed(self, job: Callable[[], Any]) -> tuple[Day, Any]:
        """Run a job; return its seconds and what it wrote, and its result."""
        rows, redo, began = *self._written(), time.perf_counter()
        result = job()
        seconds = time.perf_counter() - began
        after = self._written()
        return Day(seconds, after[0] - rows, after[1] - redo), result

    def _written(self) -> tuple[int, int]:
        status = {name: int(value) for name, value in self.database.run(f"{_STATUS} IN {(*_ROWS, _REDO)}")}
        return sum(status[name] for name in _ROWS), status[_REDO]


def compare(folder: Path, lines: int, new: int, runs: int, engines: Mapping[str, str], cores: int) -> None:
    """Print a line for each way; ``engines`` are the modules of others, by title."""
    source = drops.history(folder, lines)
    taken: dict[str, list[Day]] = {name: [] for name in (OURS, WHOLE, *engines)}
    with started(folder, source, cores) as place:
        place.build()
        _make_tables(place.database)
        number = 0
        for name, code in ((OURS, _BUILD), (WHOLE, _LOAD_ALL)):
            for _ in range(runs):  # a day after one of the same way: it deletes the rows that those left
                place.deliver(number, new)
                day, _ = place.timed(lambda code=code: place.build(code))
                taken[name].append(_said(name, day, place.steps()))
                number += 1
        wanted = place.figures("ours")
        for title, module in (item for _ in range(runs) for item in engines.items()):
            day, _ = place.timed(lambda m=module: again(place, m, cores))
            taken[title].append(_said(title, day))
            if place.figures("others") != wanted:
                sys.exit(f"{title}: its marts are not those of Martwright")
        rows = sum(count for count, *_ in wanted)
    print(f"{lines:,} lines, {rows:,} rows of both marts, and a day of {new:,} lines\n")
    print("| | seconds | rows written | redo MB |")
    print("|---|---:|---:|---:|")
    for name, days in taken.items():
        seconds, written, redo = (median(values) for values in zip(*(vars(day).values() for day in days), strict=True))
        print(f"| {name} | {seconds:.1f} | {written:,.0f} | {redo / 1e6:,.0f} |", flush=True)


def again(place: Place, module: str, cores: int) -> None:
    """Compute both marts from all drops, load them into new tables, and exchange these with the live ones."""
    with tempfile.TemporaryDirectory(prefix="bench-again-", dir=place.local.parent) as out:
        command = [sys.executable, "-m", f"bench.{module}", str(place.local), out, drops.TODAY.isoformat()]
        measured([*command, "--cores", str(cores)])
        with closing(loads.connect(place.target.replace("ours", "others"))) as connection:
            for mart in PACK.marts.values():
                _load(connection, mart, Path(out))


def _load(connection: Any, mart: Mart, out: Path) -> None:
    """Load the rows that an engine wrote, in the fastest way there is by hand."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    names, path = [column.name for column in mart.columns], out / f"{mart.name}.csv"
    parts = ds.dataset(sorted(map(str, (out / mart.name).glob("*.parquet"))))
    batches = parts.to_batches(columns=names)
    loads.write_csv(path, mart, (pa.Table.from_batches([batch]) for batch in batches))
    live, new, old = mart.table, f"{mart.table}_new", f"{mart.table}_old"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {old}")
        cursor.execute(f"CREATE TABLE {new} LIKE {live}")
        cursor.execute(loads.load_statement(path, new, names))
        connection.commit()
        cursor.execute(f"RENAME TABLE {live} TO {old}, {new} TO {live}")


@contextmanager
def started(folder: Path, source: Path, cores: int) -> Iterator[Place]:
    """Start S3 with the drops, and a database with empty marts of both."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-s3-") as of_store,
        tempfile.TemporaryDirectory(prefix="bench-drops-", dir=folder) as of_drops,
        loads.server("mariadb", [*loads.SERVER["mariadb"], loads.LOAD_DATA]) as (database, _),
    ):
        store, daemon = loads.servers().seaweed(Path(of_store))
        daemon.start()
        try:
            bucket = store.make_bucket("bench")
            store.upload(source, bucket, "drops")
            target = database.make_database("ours")
            database.make_database("others")
            local = drops.linked(source, Path(of_drops) / "drops")
            product = {"PYTHONPATH": "", "MARTS_ANALYTICS": "false", "MARTS_RAY__CPUS": str(cores)}
            product["MARTS_LEAVE_OUT"] = json.dumps(LEFT_OUT[PACK.name])
            environment = {**product, **store.environment}
            yield Place(store, database, bucket, local, target, environment)
        finally:
            daemon.kill()


def _make_tables(database: Any) -> None:
    """Create the tables of the others after the first build: the columns and the key of each mart."""
    for mart in PACK.marts.values():
        names = ", ".join(column.name for column in mart.columns)
        database.run(
            f"CREATE TABLE others.{mart.table} AS SELECT {names} FROM ours.{mart.table} LIMIT 0",
            f"ALTER TABLE others.{mart.table} ADD PRIMARY KEY ({', '.join(mart.key)})",
        )


def _said(name: str, day: Day, steps: str = "") -> Day:
    figures = f"{day.seconds:.1f} s, {day.rows:,} rows, {day.redo / 1e6:,.0f} MB; {steps}"
    print(f"  {name}: {figures}", file=sys.stderr, flush=True)
    return day
