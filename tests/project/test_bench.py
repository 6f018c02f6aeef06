"""The comparison runs, and gives a line of each engine and way; what they take here is not looked at."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.servers import SQL_SERVER

ROOT = Path(__file__).parents[2]


def bench(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "bench", "--folder", str(folder), "--runs", "1", "--lines", "3k", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "its results are not those of" not in ended.stdout
    return ended.stdout


def titles(printed: str) -> list[str]:
    return re.findall(r"^\| (\w.*?) \| +[0-9]", printed, re.MULTILINE)


@pytest.mark.database
def test_engines_do_the_same_and_rows_are_loaded_in_all_ways(tmp_path: Path) -> None:
    """Of everything, and of a day on a history."""
    tables = ("--tables", "engines,load,day,day live", "--rows", "2k", "--servers", SQL_SERVER)
    printed = bench(tmp_path, "--engines", "ours,duckdb", *tables)
    assert titles(printed)[:2] == ["Martwright, fresh process", "DuckDB, SQL"]
    assert {"a day, ours", "Martwright, rows that differ", "Martwright, all rows loaded"} < set(titles(printed)[2:])
    assert "equal rows in all" in printed


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
    from support.retail import MARTS

    values = {"id": "1::BIGINT", "count": "1::BIGINT", "money": f"{total}::DECIMAL(18,2)", "rate": "1::DECIMAL(14,2)"}
    values |= {"text": "'x'", "month": "'2024-01'", "flag": "true"}
    selects = {
        "lines": f"SELECT {total}::DECIMAL(18,2) AS total_cost",
        "quarantine": "SELECT 'x' AS row_text",
        **{
            mart.name: "SELECT " + ", ".join(f"{values[column.type]} AS {column.name}" for column in mart.columns)
            for mart in MARTS.values()
        },
    }
    for name, select in selects.items():
        (out / name).mkdir(parents=True)
        duckdb.connect().execute(f"COPY ({select}) TO '{out}/{name}/part.parquet' (FORMAT parquet)")
