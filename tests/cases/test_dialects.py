"""The same lines in any dialect, with the block that reads it: the marts are equal to the cent."""

import io
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from support.dialects import LINES, Line, Spelling, spellings, written
from support.kit import Place


def marts_of(folder: Path, data: bytes, blocks: list[dict[str, Any]], key: str) -> tuple[Any, int]:
    place = Place(folder, settings={"sources": blocks})
    place.put_dimensions()
    place.put(key, data)
    report = place.build()
    assert report.exit_code == 0, report.drops
    return place.marts(), report.totals.rows_read


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES, spellings())
def test_marts_are_equal_in_any_dialect(
    tmp_path_factory: pytest.TempPathFactory, lines: list[Line], spelling: Spelling
) -> None:
    plain = written(lines, Spelling({"delimiter": ",", "quote": '"'}))
    folder = tmp_path_factory.mktemp("dialects")
    key = f"sales/a.{spelling.format}"
    expected = marts_of(folder / "plain", plain, [], "sales/a.csv")
    assert marts_of(folder / "other", written(lines, spelling), [spelling.block], key) == expected


def test_typed_columns_of_parquet_are_read_exactly(tmp_path: Path) -> None:
    """Decimals, dates and timestamps with a time zone, in row groups that several tasks read."""
    numbers = range(5_000)
    count = len(numbers)
    start = datetime(2024, 1, 1, 10)  # noqa: DTZ001
    table = pa.table(
        {
            "customer_id": pa.array([n % 6 + 1 for n in numbers], pa.int32()),
            "store_id": pa.array([121.0] * count, pa.float64()),
            "product_name": pa.array(["tea"] * count).dictionary_encode(),
            "sales_date": pa.array([start + timedelta(hours=n % 2000) for n in numbers], pa.timestamp("us", "UTC")),
            "sales_person_id": pa.array([n % 4 + 1 for n in numbers], pa.int64()),
            "price": pa.array([Decimal("12.505")] * count, pa.decimal128(12, 3)),
            "quantity": pa.array([2.0] * count, pa.float32()),
            "total_cost": pa.array([Decimal("25.01")] * count, pa.decimal128(12, 2)),
            "transaction_id": pa.array([f"T{n}" for n in numbers]),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=500, compression="none")
    place = Place(
        tmp_path,
        settings={"sources": [{"match": "sales/**", "format": "parquet"}], "limits": {"split_bytes": 16 << 10}},
    )
    place.put_dimensions()
    place.put("sales/a.parquet", sink.getvalue())
    report = place.build()
    assert (report.exit_code, report.totals.rows_read, report.totals.clean) == (0, count, count)
    assert report.totals.counted_total == count * Decimal("25.01")
    assert place.runner.tasks["ScanDrops"] > 4
