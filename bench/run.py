"""Measure: a build of generated drops, and loading the customers mart into a private MariaDB.

`make bench` or `python bench/run.py [--lines 10000000] [--rows 2000000]`. Prints seconds, peak memory of the whole
process tree (proportional set size: shared pages count once), and rows per second. Nothing is asserted.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from servers import free_port, mariadb

from jobs.adapters.cluster import Cluster
from jobs.adapters.objects import open_store
from jobs.generate import generate
from jobs.publish import Load, run_load
from jobs.settings import S3, MySQL, RaySettings
from jobs.state import write_parquet
from marts.calculate import mart_schema
from marts.schema import CUSTOMERS_MART

PART = 300_000


def build(lines: int) -> None:
    """Build both marts from generated drops, as a process of its own, and again with nothing new."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        drops = Path(folder) / "drops"
        generate(drops, lines, seed=7)
        size = sum(path.stat().st_size for path in drops.rglob("*") if path.is_file())
        command = [str(Path(sys.executable).parent / "marts"), "build", "--source", str(drops)]
        command += ["--target", f"duckdb://{folder}/marts.duckdb", "--as-of", "2025-12-31"]
        for what in ("first build", "nothing new"):
            seconds, peak = measured(command)
            print(
                f"{what:<12} {lines:>11,} lines {size / 1e6:>7,.0f} MB  {seconds:>6.1f} s  peak {peak / 2**30:.2f} GiB"
            )


def measured(command: list[str]) -> tuple[float, int]:
    """Run a command; give its seconds and the peak memory of its process tree."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    tree, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        peak = max(peak, memory(tree))
        time.sleep(0.2)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - began, peak


def memory(tree: psutil.Process) -> int:
    """Sum the proportional set sizes of a process and its children."""
    total = 0
    try:
        for process in [tree, *tree.children(recursive=True)]:
            total += process.memory_full_info().pss
    except psutil.Error:
        pass  # it ended meanwhile
    return total


def load(rows: int) -> None:
    """Load rows of the customers mart into a private MariaDB with its default settings."""
    servers = mariadb.__wrapped__()
    database = next(servers)
    uri = database.make_database(f"bench{free_port()}")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Cluster(RaySettings(address="local")) as cluster:
        store = open_store(folder, S3())
        paths = [f"part-{n:05d}.parquet" for n in range(-(-rows // PART))]
        for number, path in enumerate(paths):
            write_parquet(store, path, some_rows(number * PART, min(PART, rows - number * PART)))
        from jobs.publish import open_warehouse

        warehouse = open_warehouse(uri, MySQL())
        warehouse.prepare()
        list(cluster.run("Warm", os.getpgid, [0, 0]))
        for what, settings in (("LOAD DATA", MySQL()), ("INSERT", MySQL(load_data=False))):
            count = len(paths) if settings.load_data else 1
            generation = warehouse.stage(CUSTOMERS_MART)
            work = [Load(uri, settings, "customers", generation, path, store.uri, S3()) for path in paths[:count]]
            began = time.perf_counter()
            list(cluster.run("LoadCustomers", run_load, work, warehouse.loaders))
            seconds = time.perf_counter() - began
            loaded = warehouse.count(CUSTOMERS_MART, generation)
            print(f"{what:<12} {loaded:>11,} rows  {seconds:>6.1f} s  {loaded / seconds:>9,.0f} rows/s into MariaDB")
        warehouse.close()
    next(servers, None)


def some_rows(first: int, count: int) -> pa.Table:
    """Make rows of the customers mart, ten months each, in key order."""
    at = np.arange(first, first + count)
    months = np.array([f"2024-{month:02d}" for month in range(1, 11)])
    random = np.random.default_rng(first)

    def money(high: int, digits: int = 18) -> pa.Array:
        return pa.array(random.integers(0, high, count) / 100).cast(pa.decimal128(digits, 2))

    columns = {
        "customer_id": pa.array(at // 10 + 1),
        "full_name": pa.array(np.char.add("Customer Number ", (at // 10).astype(str))),
        "address": pa.array(np.char.add((at % 180).astype(str), " Station Road")),
        "phone_number": pa.array(np.char.add("+00 000 ", (at // 10).astype(str))),
        "sales_date_month": pa.array(months[at % 10]),
        "first_purchase_month": pa.array(["2024-01"] * count),
        "last_purchase_month": pa.array(["2024-10"] * count),
        "purchase_frequency": pa.array(random.integers(1, 50, count)),
        "avg_time_between_purchases": money(9000, 14),
        "inactive_status": pa.array(random.integers(0, 2, count) == 1),
        "customer_segment": pa.array(["Occasional Customer"] * count),
    }
    return pa.table(
        [columns.get(column.name, money(10**7)) for column in CUSTOMERS_MART.columns],
        schema=mart_schema(CUSTOMERS_MART),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=10_000_000)
    parser.add_argument("--rows", type=int, default=2_000_000)
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    if arguments.lines:
        build(arguments.lines)
    if arguments.rows:
        load(arguments.rows)


if __name__ == "__main__":
    main()
