"""Files of drops whose objects are gone, written again without a person."""

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support.retail import RETAIL, SALES

from jobs.adapters.store.open import open_store
from jobs.config.settings import S3
from jobs.operations.only_copies import Person, rewrite
from jobs.state.manifest import BUCKETS, Delivery, LinesFile, Manifest, MonthLines
from jobs.steps.row_files import buckets_of, write_lines
from marts.privacy.erasure import Erased
from marts.rows.cast import clean_schema

PATH = "lines/month=2024-01/drop=x/all.parquet"


def lines(rows: int) -> pa.Table:
    columns = {
        "customer_id": [n % 50 + 1 for n in range(rows)],
        "store_id": [1] * rows,
        "product_name": [f"product {n}" for n in range(rows)],
        "sales_date": [date(2024, 1, 2)] * rows,
        "sales_person_id": [1] * rows,
        "price_millionths": [1_000_000] * rows,
        "quantity_ten_thousandths": [10_000] * rows,
        "total_cents": [100] * rows,
        "transaction_id": [str(n // 50) for n in range(rows)],
    }
    schema = clean_schema(SALES)
    table = pa.table({f.name: pa.array(columns.get(f.name, [None] * rows), f.type) for f in schema}, schema)
    return table.append_column("bucket", pa.array([0] * rows, pa.uint8()))


@pytest.mark.parametrize("rows", [1_000, 100_000])
def test_lines_of_a_person_keep_their_order_and_lie_in_the_bucket_of_nobody(tmp_path: Path, rows: int) -> None:
    store = open_store(str(tmp_path), S3())
    write_lines(store, SALES, PATH, lines(rows))
    before = pq.read_table(tmp_path / PATH)
    erased = Erased("00" * 16, {}, "customer_id")
    person = Person(7, 1, Erased(erased.salt, {erased.digest(7): 1}, "customer_id"))
    month = MonthLines(rows=rows, last_day="2024-01-02", files=(LinesFile(path=PATH, rows=rows),))
    delivery = Delivery(kind="sales", key="sales/a.csv", etag="e", size=1, modified="2024-01-02")
    manifest = Manifest(delivery=delivery, scan="x", rules="r", origin="o", months={"2024-01": month})
    rewritten = rewrite(store, RETAIL, manifest, person, lambda columns, raw: False)
    (path,) = rewritten.paths
    after, file = pq.read_table(tmp_path / path), pq.ParquetFile(tmp_path / path)
    assert (rewritten.scan, rewritten.origin) != ("x", "o")
    for customer, now in ((7, -1001), (8, 8)):
        was = before.filter(pc.equal(before["customer_id"], customer))
        assert after.filter(pc.equal(after["customer_id"], now))["product_name"] == was["product_name"]
    assert after.num_rows == rows
    assert 7 not in after["customer_id"].to_pylist()
    assert after["bucket"].to_pylist() == (buckets_of(SALES, after) % BUCKETS).tolist()
    if rows > 65_536:
        groups = [file.read_row_group(n)["bucket"].unique().to_pylist() for n in range(file.num_row_groups)]
        assert groups == [[bucket] for bucket in sorted(set(after["bucket"].to_pylist()))]
