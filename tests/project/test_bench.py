"""The comparison runs, and gives a line of each engine and way; what they take here is not looked at."""

import csv
import os
import re
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import duckdb
import pytest
from support.kit import AS_OF, GOLDEN, as_golden
from support.servers import SQL_SERVER

from marts.packs import shipped

ROOT = Path(__file__).parents[2]
BANK = GOLDEN / "banking"

pytestmark = pytest.mark.usefixtures("all_marts")


def bench(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "bench", "--folder", str(folder), "--runs", "1", "--lines", "3k", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "its results are not those of" not in ended.stdout
    return ended.stdout


def titles(printed: str) -> list[str]:
    return re.findall(r"^\| (\w.*?) \| +[0-9]", printed, re.MULTILINE)


@pytest.mark.database
def test_engines_do_the_same_and_rows_are_loaded_in_all_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of everything, and of a day on a history. Unjudged: test_judge.py has builds that are judged in a new process."""
    monkeypatch.setenv("MARTS_QUALITY__JUDGE", "false")
    tables = ("--tables", "engines,load,day,day live", "--rows", "2k", "--servers", SQL_SERVER)
    printed = bench(tmp_path, "--engines", "ours,duckdb", *tables)
    assert titles(printed)[:2] == ["Martwright, fresh process", "DuckDB, SQL"]
    assert {"a day, ours", "Martwright, rows that differ", "Martwright, all rows loaded"} < set(titles(printed)[2:])
    assert "equal rows in all" in printed


@pytest.mark.parametrize(("module", "package"), [("duckdb_sql", "duckdb"), ("polars_frames", "polars")])
def test_another_engine_gives_the_golden_tables_of_a_bank(tmp_path: Path, module: str, package: str) -> None:
    """What a data engineer would write by hand, with all that generated drops lack."""
    pytest.importorskip(package)
    drops, out = tmp_path / "drops", tmp_path / "out"
    deliver(drops)
    command = [sys.executable, "-m", f"bench.banking.{module}", str(drops), str(out), AS_OF.isoformat()]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 0, ended.stderr
    for name in shipped("banking").marts:
        expected = list(csv.DictReader((BANK / f"expected/{name}.csv").open()))
        columns = list(expected[0])
        rows = duckdb.execute(f"SELECT {', '.join(columns)} FROM '{out}/{name}/*.parquet'").fetchall()
        assert sorted(map(str, as_golden(rows, columns, columns))) == sorted(map(str, expected)), name


def deliver(folder: Path) -> None:
    """Write the drops of the golden bank, each with the time of its delivery."""
    with (BANK / "input/deliveries.csv").open() as file:
        for row in csv.DictReader(file):
            path = folder / row["key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(BANK / "input" / row["key"], path)
            delivered = datetime.fromisoformat(row["delivered_at"]).timestamp()
            os.utime(path, (delivered, delivered))


def test_all_engines_make_the_same_tables_of_a_bank(tmp_path: Path) -> None:
    """Beside Martwright; Polars only where it is installed."""
    few = "20k"  # in fewer, too many are of a customer who left
    printed = bench(tmp_path, "--pack", "banking", "--lines", few, "--tables", "engines")
    polars = [] if "left out: polars" in printed else ["Polars"]
    assert titles(printed) == ["Martwright, fresh process", "DuckDB, SQL", *polars]


def test_what_each_step_asks_of_a_storage_is_counted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.traffic", "--folder", str(tmp_path), "--lines", "3000"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert ended.returncode == 0, ended.stderr
    steps = dict(re.findall(r"^\| (\w.*?) \| .* \| (.*) \|$", ended.stdout, re.MULTILINE))
    assert {"plan", "scan", "roll up", "materialize", "load"} <= set(steps)
    assert re.fullmatch(r"[0-9,]+ GET, [0-9,]+ PUT", steps["scan"])


def test_an_engine_that_gives_something_else_is_reported_and_has_no_time(tmp_path: Path) -> None:
    """The check can fail."""
    from bench import equal

    first, other = tmp_path / "one", tmp_path / "other"
    for out, cents in ((first, "10.00"), (other, "10.01")):
        _write(out, cents)
    assert equal.written(first).differences(equal.written(first)) == []
    assert any(text.startswith("sums") for text in equal.written(first).differences(equal.written(other)))


def _write(out: Path, total: str) -> None:
    """Write what an engine writes: a line, a bad row, and a row of each mart."""
    import duckdb

    from bench.packs import marts_of

    values = {"id": "1::BIGINT", "count": "1::BIGINT", "money": f"{total}::DECIMAL(18,2)", "rate": "1::DECIMAL(14,2)"}
    values |= {"text": "'x'", "month": "'2024-01'", "flag": "true"}
    selects = {
        "lines": f"SELECT {total}::DECIMAL(18,2) AS total_cost",
        "quarantine": "SELECT 'x' AS row_text",
        **{
            mart.name: "SELECT " + ", ".join(f"{values[column.type]} AS {column.name}" for column in mart.columns)
            for mart in marts_of("retail").values()
        },
    }
    for name, select in selects.items():
        (out / name).mkdir(parents=True)
        duckdb.connect().execute(f"COPY ({select}) TO '{out}/{name}/part.parquet' (FORMAT parquet)")
