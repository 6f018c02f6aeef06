"""Compare Martwright with alternatives: the same drops, the same work, the same results.

`make bench` runs everything at 10 million lines, which takes most of an hour.
`make bench ARGS="--lines 40M --engines ours,duckdb"` runs a part. `--pack banking` compares all tables of a bank.
Each run is a process of its own. The engines take turns, so that a temporary slowdown of the machine affects all of
them. Figures are medians. An engine whose results differ gets no time.
"""

import argparse
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench import days_live, drops, loads
from bench.engines import ours
from bench.equal import first_difference, written
from bench.measure import Failed, Measured, measured, median, number
from bench.packs import marts_of

WARM_LINES, DAY_LINES = 20_000, 100_000


@dataclass(frozen=True)
class Engine:
    """One way to compute the marts from the drops."""

    title: str
    module: str
    """Under ``bench``."""
    package: str = ""
    """Package that must be installed; empty for a dependency of Martwright."""
    environment: Mapping[str, str] = field(default_factory=dict)
    left_out: Collection[str] = ()
    """Marts that it does not compute."""


ENGINES = {
    "ours": Engine("Martwright, fresh process", "engines.ours"),
    "warm": Engine("Martwright, warm cluster", "engines.ours", environment={"BENCH_WARM": "{warm}"}),
    "duckdb": Engine("DuckDB, SQL", "engines.duckdb_sql"),
    "polars": Engine("Polars, streaming", "engines.polars_streaming", "polars"),
    "pandas": Engine("pandas", "engines.pandas_frames"),
    "spark": Engine("PySpark, local", "engines.pyspark_local", "pyspark"),
    "ray": Engine("Ray Data, as documented", "engines.ray_documented"),
}
BANKING = {
    "ours": Engine("Martwright, fresh process", "engines.ours"),
    "duckdb": Engine("DuckDB, SQL", "banking.duckdb_sql"),
    "polars": Engine("Polars", "banking.polars_frames", "polars"),
}
PACKS = {"retail": ENGINES, "banking": BANKING}
"""Engines by the pack whose marts they compute."""
PRODUCT = {"PYTHONPATH": "", "MARTS_ANALYTICS": "false"}
"""Environment of Martwright, without the other engines' packages, which Great Expectations looks for, and without the
tables that no other engine computes."""
TABLES = ("engines", "live", "load", "day", "day live", "scale")


@dataclass(frozen=True)
class Bench:
    """The engines to compare, and the folder of their files."""

    folder: Path
    engines: Sequence[str]
    runs: int
    cores: int
    pack: str = "retail"

    def run(self, name: str, source: Path, out: Path, as_of: date = drops.TODAY) -> Measured:
        """Run one engine once."""
        engine = PACKS[self.pack][name]
        warm = str(drops.history(self.folder, WARM_LINES)) if engine.environment else ""
        environment = {key: value.format(warm=warm) for key, value in engine.environment.items()}
        environment |= {} if engine.package else PRODUCT
        command = [sys.executable, "-m", f"bench.{engine.module}", str(source), str(out)]
        command += [as_of.isoformat(), "--cores", str(self.cores), "--pack", self.pack]
        return measured(command, environment)

    @contextmanager
    def out(self, name: str) -> Iterator[Path]:
        """Return a new folder for what an engine writes."""
        folder = self.folder / "out" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def compare_engines(bench: Bench, lines: int) -> None:
    """Print the first table: from CSV to both marts as Parquet, ready to load."""
    source = drops.history(bench.folder, lines)
    size = sum(path.stat().st_size for path in source.rglob("*.csv"))
    _title(f"{lines:,} lines in {len(list(source.rglob('*.csv'))):,} CSV files of {size / 1e6:,.0f} MB, to both marts")
    _rows(_take_turns(bench, bench.engines, lambda name, out: bench.run(name, source, out)), lines)


def compare_banks(bench: Bench, lines: int) -> None:
    """Print the table of the other pack: from CSV to all tables of a bank as Parquet, ready to load."""
    source = drops.bank(bench.folder, lines)
    files = list(source.rglob("*.csv"))
    size = sum(path.stat().st_size for path in files)
    tables = len(marts_of("banking"))
    days = f"of {drops.BANK_DAYS} days in {len(files):,} CSV files of {size / 1e6:,.0f} MB"
    _title(f"{lines:,} transactions and their ledger, {days}, to {tables} tables")
    runs = _take_turns(bench, bench.engines, lambda name, out: bench.run(name, source, out, drops.BANK_TODAY))
    _rows(runs, lines, BANKING)


def compare_bank_days(bench: Bench, lines: int) -> None:
    """Print what the last day of a bank's month costs, on top of the days before it: live in MariaDB, judged."""
    source, last = drops.bank(bench.folder, lines), drops.BANK_DAYS
    tables = len(marts_of("banking"))
    _title(f"The last day of a month with {lines:,} transactions, from S3 until {tables} tables are live in MariaDB")
    with tempfile.TemporaryDirectory(prefix="bench-bank-", dir=bench.folder) as folder:
        history = Path(folder) / "drops"
        drops.bank_until(source, history, 1)
        with days_live.started(Path(folder), history, bench.cores) as place:
            print("| | live after s | ended after s | CPU s | peak GiB | rows written | redo MB | steps |")
            print("|---|---:|---:|---:|---:|---:|---:|---|")
            # A large month is computed by days if it was computed before: so is one that grows day by day.
            for title, until in (("the first day", 1), (f"{last - 2} days more", last - 1), ("the last day", last)):
                for path in drops.bank_until(source, place.local, until):
                    place.upload(path)
                as_of = drops.BANK_TODAY.replace(day=until)
                with place.watched() as seen:
                    began = time.perf_counter()
                    day, build = place.timed(partial(place.build, as_of=as_of, pack="banking"))
                figures = f"{build.cpu:.1f} | {build.peak / 2**30:.2f} | {day.rows:,} | {day.redo / 1e6:,.0f}"
                live = f"{seen[0] - began:.1f} | {day.seconds:.1f}"
                print(f"| {title} | {live} | {figures} | {place.steps()} |", flush=True)


def compare_days(bench: Bench, lines: int) -> None:
    """Print the third table: a day of new lines on top of a history, until the marts are ready to load."""
    source = drops.history(bench.folder, lines)
    new = min(DAY_LINES, lines)
    grown = drops.with_more(bench.folder, source, new)
    _title(f"A day later, with {new:,} new lines, on top of {lines:,}, to both marts; others do everything again")
    before = bench.folder / f"history-{lines}"
    shutil.rmtree(before, ignore_errors=True)
    before.mkdir(parents=True)
    bench.run("ours", source, before, drops.YESTERDAY)
    for name in marts_of("retail"):  # the day writes other names
        (before / name).unlink()
    for name in ("lines", "quarantine"):
        (before / name).unlink()

    def day(name: str, out: Path) -> Measured:
        how, _, engine = name.rpartition(" ")
        if how:
            shutil.copytree(before, out, dirs_exist_ok=True)
        found = bench.run(engine, grown, out)
        if how:
            ours.lay_out(out)
        return found

    names = ["a day, ours", *(["a day, warm"] if "warm" in bench.engines else []), *bench.engines]
    _rows(_take_turns(bench, names, day), lines + new)
    shutil.rmtree(before, ignore_errors=True)


def compare_live(bench: Bench, lines: int) -> None:
    """Print the time of real builds: from CSV in S3 until both marts are live in MariaDB, judged and published."""
    source = drops.history(bench.folder, lines)
    _title(f"{lines:,} lines in S3 until both marts are live in MariaDB")
    with tempfile.TemporaryDirectory(prefix="bench-s3-") as folder:
        store, daemon = loads.servers().seaweed(Path(folder))
        daemon.start()
        try:
            store.upload(source, store.make_bucket(f"bench{lines}"), "drops")
            environment = {**PRODUCT, **store.environment, "MARTS_RAY__CPUS": str(bench.cores)}
            runs = [_live(f"s3://bench{lines}/drops", environment) for _ in range(bench.runs)]
        finally:
            daemon.kill()
    _rows({"Martwright, marts build": runs}, lines)


def _live(source: str, environment: Mapping[str, str]) -> Measured:
    """Build into a new database on a new server."""
    with loads.server("mariadb", loads.SERVER["mariadb"]) as (database, _):
        arguments = ["--source", source, "--target", database.make_database("bench")]
        arguments += ["--as-of", drops.TODAY.isoformat(), "--rebuild"]
        found = measured([str(Path(sys.executable).parent / "marts"), "build", *arguments], environment)
    _turn("marts build", found)
    return found


def compare_scale(bench: Bench, lines: int) -> None:
    """Print the same build on one and two CPUs, on one and two nodes, and the driver's CPU and memory."""
    source = drops.history(bench.folder, lines)
    _title(f"{lines:,} lines on one and two CPUs, warm workers")
    warm = {"BENCH_WARM": str(drops.history(bench.folder, WARM_LINES)), **PRODUCT}
    print("| | job s | driver CPU s | driver GiB | steps |")
    print("|---|---:|---:|---:|---|")
    for title, nodes, cpus in (("1 node, 1 CPU", 1, 1), ("1 node, 2 CPUs", 1, 2), ("2 nodes, 1 CPU each", 2, 1)):
        runs = []
        for _ in range(bench.runs):
            with _nodes(nodes, cpus) as environment, bench.out("run") as out:
                command = [sys.executable, "-m", "bench.engines.ours", str(source), str(out)]
                runs.append(measured([*command, drops.TODAY.isoformat()], {**warm, **environment}))
        found = median(runs)
        steps = found.output[found.output.rfind("seconds:") + 9 :].splitlines()[0]
        driver = f"{found.told['cpu']:.1f} | {found.told['peak'] / 2**30:.2f}"
        print(f"| {title} | {found.job:.1f} | {driver} | {steps} |", flush=True)


@contextmanager
def _nodes(count: int, cpus: int) -> Iterator[Mapping[str, str]]:
    """Start a Ray cluster of ``count`` raylets on this machine; yield the environment of processes that join it."""
    environment = {**PRODUCT, "RAY_num_workers_soft_limit": "8", "RAY_idle_worker_killing_time_threshold_ms": "600000"}
    with ExitStack() as stack:
        head = stack.enter_context(loads.servers().ray_head(environment, cpus))
        for _ in range(count - 1):
            stack.enter_context(head.with_another_node(environment, cpus))
        yield {"BENCH_RAY": head.address, **head.environment}


def _take_turns(bench: Bench, names: Sequence[str], run: Callable[[str, Path], Measured]) -> dict[str, list[Measured]]:
    """Run all engines in turns. One that fails, or whose result differs from the first, is reported and dropped."""
    runs: dict[str, list[Measured]] = {name: [] for name in names}
    first: tuple[str, Path] | None = None
    for _ in range(bench.runs):
        for name in list(runs):
            with bench.out("run") as out:
                try:
                    found = run(name, out)
                    first = _check(bench, name, out, first)
                except Failed as failed:
                    print(f"{name}: {failed}", flush=True)
                    del runs[name]
                    continue
            runs[name].append(found)
            _turn(name, found)
    if first:
        shutil.rmtree(first[1], ignore_errors=True)
    return runs


def _check(bench: Bench, name: str, out: Path, first: tuple[str, Path] | None) -> tuple[str, Path]:
    """Compare an engine's output with that of the first engine. Raise Failed if they differ."""
    if first is None:
        kept = bench.folder / "out" / "first"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(out, kept, ignore=shutil.ignore_patterns("state", "spill", "warm"))
        return name, kept
    other, kept = first
    left_out = PACKS[bench.pack][name.rpartition(" ")[2]].left_out if bench.pack != "retail" else ()
    differences = written(out, bench.pack, left_out).differences(written(kept, bench.pack, left_out))
    if differences:
        marts = [mart for mart in marts_of(bench.pack).values() if mart.name not in left_out]
        rows = [row for mart in marts for row in first_difference(mart, out, kept)]
        raise Failed(f"its results are not those of {other}: {'; '.join(differences)}\n{rows}")
    return first


def _rows(runs: Mapping[str, Sequence[Measured]], lines: int, engines: Mapping[str, Engine] = ENGINES) -> None:
    print("| | job s | process s | CPU s | peak GiB | lines/s |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, mine in runs.items():
        if mine:
            found = median(mine)
            title = engines[name].title if name in engines else name
            print(
                f"| {title} | {found.job:.1f} | {found.seconds:.1f} | {found.cpu:.1f} | {found.peak / 2**30:.2f} |"
                f" {lines / found.seconds:,.0f} |",
                flush=True,
            )


def _turn(name: str, found: Measured) -> None:
    """Report the time of one run."""
    print(f"  {name}: {found.seconds:.1f} s, CPU {found.cpu:.1f} s", file=sys.stderr, flush=True)


def _title(text: str) -> None:
    print(f"\n{text}\n", flush=True)


def _about(bench: Bench) -> str:
    packages = ("duckdb", "polars", "pandas", "pyspark", "ray", "pyarrow", "mysql-connector-python")
    versions = []
    for name in packages:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    machine = (
        f"{bench.cores} of {os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )
    return f"{machine}; {', '.join(versions)}; medians of {bench.runs}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--lines", type=lambda text: [number(part) for part in text.split(",")], default=[10_000_000])
    parser.add_argument(
        "--pack", choices=tuple(PACKS), default="retail", help="banking: only the tables engines and day live"
    )
    parser.add_argument("--engines", default="all", help=f"some of {','.join(ENGINES)}")
    parser.add_argument(
        "--tables", type=lambda text: text.split(","), default=TABLES, help=f"some of {','.join(TABLES)}"
    )
    parser.add_argument("--rows", type=number, default=2_000_000, help="of the customers mart, loaded")
    parser.add_argument(
        "--servers", type=lambda text: text.split(","), default=list(loads.SERVER), help="that rows are loaded into"
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keeps the drops for the next time; else a temporary one")
    arguments = parser.parse_args()
    known = PACKS[arguments.pack]
    names = list(known) if arguments.engines == "all" else arguments.engines.split(",")
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no engine {', '.join(unknown)} of {arguments.pack}; there are {', '.join(known)}")
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        missing = [name for name in names if known[name].package and not _is_there(known[name].package)]
        engines = [name for name in names if name not in missing]
        bench = Bench(arguments.folder or Path(temporary), engines, arguments.runs, arguments.cores, arguments.pack)
        print(_about(bench))
        if missing:
            print(f"not installed, left out: {', '.join(missing)}")
        for lines in arguments.lines:
            if bench.pack == "banking":
                _compare_banks(bench, lines, arguments.tables)
            else:
                _compare(bench, lines, arguments.tables)
        if "load" in arguments.tables and bench.pack == "retail":
            _title("rows of the customers mart, loaded into a database")
            loads.compare_servers(arguments.rows, arguments.servers)


def _compare(bench: Bench, lines: int, tables: Sequence[str]) -> None:
    """Print the tables of the retail pack that depend on the number of lines."""
    if "engines" in tables:
        compare_engines(bench, lines)
    if "live" in tables:
        compare_live(bench, lines)
    if "day" in tables:
        compare_days(bench, lines)
    if "day live" in tables:
        _title("A day, from S3 until both marts are live in MariaDB")
        names = [name for name in ("duckdb", "polars") if name in bench.engines]
        others = {f"{ENGINES[name].title}, all again": ENGINES[name].module for name in names}
        days_live.compare(bench.folder, lines, min(DAY_LINES, lines), bench.runs, others, bench.cores)
    if "scale" in tables:
        compare_scale(bench, lines)


def _compare_banks(bench: Bench, lines: int, tables: Sequence[str]) -> None:
    """Print the tables of the banking pack."""
    if "engines" in tables:
        compare_banks(bench, lines)
    if "day live" in tables:
        compare_bank_days(bench, lines)


def _is_there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


if __name__ == "__main__":
    main()
