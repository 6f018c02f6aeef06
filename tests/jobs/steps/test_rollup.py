"""The task of a roll-up: drops with and without numbered lines, and a month in parts."""

from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
from support.retail import RETAIL, SALES

from jobs.adapters.store.open import StoreAddress, open_store
from jobs.config.settings import S3
from jobs.state.manifest import BUCKETS, NARROWEST
from jobs.state.parquet import read_parquet, write_parquet
from jobs.steps.rollup import DropFiles, FactFiles, RollUp
from jobs.steps.rollup_task import run_rollup
from jobs.steps.rollup_work import RollUpWork
from jobs.steps.row_files import bucket_columns, buckets_of
from marts.compute.identity import Identity
from marts.compute.numbers import NO_NUMBERS
from marts.policy import Policy
from marts.rows.cast import clean_schema

LAST_DAY = date(2024, 1, 31)


def lines(*rows: dict[str, object]) -> pa.Table:
    """Make clean lines as a scan writes them."""
    usual = {"customer_id": 1, "store_id": 1, "sales_person_id": 1, "sales_date": date(2024, 1, 5)}
    usual |= {"quantity_ten_thousandths": 10_000, "price_millionths": 1_000_000, "total_cents": 100}
    usual |= {"transaction_id": "T1", "product_name": "tea"}
    table = pa.Table.from_pylist([usual | row for row in rows], clean_schema(SALES))
    return table.append_column("bucket", pa.array(buckets_of(SALES, table) % BUCKETS, pa.uint8()))


def rolled_up(
    folder: Path, *drops: pa.Table, parts: int = 1, equal_lines: Literal["keep", "drop"] = "keep"
) -> tuple[list[dict[str, object]], int]:
    """Return the customers' facts of a month, and how many lines were dropped."""
    store = open_store(str(folder), S3())
    for number, drop in enumerate(drops):
        groups = [(start, min(start + 7, drop.num_rows)) for start in range(0, drop.num_rows, 7)]
        write_parquet(store, f"lines/{number}.parquet", drop, groups)
    shares = tuple(DropFiles(f"drop-{number}", (f"lines/{number}.parquet",)) for number in range(len(drops)))
    facts: list[dict[str, object]] = []
    dropped = 0
    for part in range(parts):
        task = RollUp(
            "2024-01",
            part,
            parts,
            LAST_DAY,
            (FactFiles(Identity.of(Policy(equal_lines=equal_lines), RETAIL, SALES), shares),),
            tuple(RETAIL.months.values()),
            NO_NUMBERS,
            f"facts-{part}",
        )
        run_rollup(RollUpWork(task, StoreAddress(store.uri, S3())))
        facts += read_parquet(store, task.path("customer_months")).to_pylist()
        table = read_parquet(store, task.path("drops"))
        dropped += sum(sum(table[name].to_pylist()) for name in ("repeated", "replaced"))
    return sorted(facts, key=lambda row: str(row["customer_id"])), dropped


def test_lines_without_a_number_are_compared_as_a_whole(tmp_path: Path) -> None:
    """Columns that distinguish them are read although no sum needs them."""
    drop = lines({"product_name": "tea"}, {"product_name": "tea"}, {"product_name": "rice"}, {"payment_mode": "cash"})
    facts, dropped = rolled_up(tmp_path, drop, equal_lines="drop")
    assert (facts[0]["lines"], facts[0]["total_cents"], dropped) == (3, 300, 1)


def test_numbered_lines_are_distinguished_by_their_number(tmp_path: Path) -> None:
    drop = lines({"line_no": 1, "product_name": "tea"}, {"line_no": 2, "product_name": "tea"}, {"line_no": 1})
    facts, dropped = rolled_up(tmp_path, drop)
    assert (facts[0]["lines"], dropped) == (2, 1)


def test_a_month_may_have_drops_of_both_kinds(tmp_path: Path) -> None:
    numbered = lines({"line_no": 1}, {"line_no": 1}, {"line_no": 2})
    other = lines({"transaction_id": "T2", "product_name": "tea"}, {"transaction_id": "T2", "product_name": "rice"})
    again = lines({"transaction_id": "T1", "line_no": 1, "total_cents": 500})
    facts, dropped = rolled_up(tmp_path, numbered, other, again)
    assert (facts[0]["lines"], facts[0]["total_cents"], facts[0]["purchases"]) == (4, 800, 2)
    assert dropped == 2  # line 1, twice; line 2 stays


def test_lines_without_a_transaction_are_all_kept(tmp_path: Path) -> None:
    facts, dropped = rolled_up(tmp_path, lines(*[{"transaction_id": None}] * 3))
    assert (facts[0]["purchases"], dropped) == (3, 0)


@pytest.mark.parametrize("parts", [1, 2, 4, 64])
def test_parts_of_a_month_give_what_the_month_gives(tmp_path: Path, parts: int) -> None:
    """More parts than buckets in files, too: a task then divides a bucket."""
    drop = lines(*[{"customer_id": 1 + n % 7, "transaction_id": f"T{n % 7}", "line_no": n % 9} for n in range(100)])
    whole, dropped = rolled_up(tmp_path / "whole", drop)
    assert rolled_up(tmp_path / "parts", drop, parts=parts) == (whole, dropped)
    assert dropped == 100 - 7 * 9


def test_buckets_divide_rows_evenly_however_narrow_they_are() -> None:
    """Guests, whom their transactions divide, too."""
    drop = lines(*[{"customer_id": n * (n % 3 > 0), "transaction_id": f"T{n}"} for n in range(60_000)])
    buckets = buckets_of(SALES, drop)
    assert buckets.min() >= 0
    assert buckets.max() < NARROWEST
    for parts in (2, 16, 64, 256):
        sizes = np.bincount(buckets % parts, minlength=parts)
        assert sizes.min() > 0.6 * len(buckets) / parts
        assert sizes.max() < 1.4 * len(buckets) / parts
    assert drop["bucket"].to_numpy().tolist() == (buckets % BUCKETS).tolist()
    assert buckets_of(SALES, drop.select(bucket_columns(SALES))).tolist() == buckets.tolist()


def test_a_file_without_statistics_is_read_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that an earlier version wrote."""
    monkeypatch.setattr("jobs.state.parquet._PRUNED", {"bucket"})
    drop = lines({"line_no": 1}, {"line_no": 1})
    assert rolled_up(tmp_path, drop)[1] == 1


def test_a_roll_up_reads_the_columns_that_its_sql_names_and_those_that_identify_a_line() -> None:
    assert set(Identity.of(Policy(), RETAIL, SALES).columns) == {
        *("transaction_id", "line_no", "customer_id", "store_id", "sales_person_id", "sales_date"),
        *("quantity_ten_thousandths", "total_cents"),
    }
