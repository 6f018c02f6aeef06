"""The same lines in any dialect, with the block that reads it: the marts are equal to the cent."""

import csv
import io
import json
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.kit import Place

NAMES = (
    "transaction_id",
    "customer_id",
    "store_id",
    "product_name",
    "sales_date",
    "sales_person_id",
    "price",
    "quantity",
    "total_cost",
)
PRODUCTS = ("tea", 'tea 5" tin', "Käse, jung", "a;b", "Ünïted|tab", "it's")
FORMATS = ("%d.%m.%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%b-%Y", "%Y%m%d", "excel")


@dataclass(frozen=True)
class Line:
    """One sale."""

    transaction: str
    customer: int
    store: int
    product: str
    day: date
    person: int
    price: Decimal
    quantity: int

    @property
    def total(self) -> Decimal:
        return (self.price * self.quantity).quantize(Decimal("0.01"), ROUND_HALF_UP)


@dataclass(frozen=True)
class Spelling:
    """How a file spells its rows: the keys of a block, and how values are written."""

    block: dict[str, Any]
    format: str = "csv"
    order: tuple[str, ...] = NAMES
    renames: dict[str, str] = field(default_factory=dict)
    header: bool = True
    title: int = 0
    line_end: str = "\n"
    encoding: str = "utf-8"

    def number(self, value: Decimal | int) -> str:
        text = f"{value:,}" if self.block.get("thousands") else str(value)
        text = text.replace(",", "_").replace(".", self.block.get("decimal", "."))
        text = text.replace("_", self.block.get("thousands", ""))
        return f"${text}" if self.block.get("accounting") and isinstance(value, Decimal) else text

    def day(self, value: date) -> str:
        match self.block.get("dates", [""])[0]:
            case "":
                return value.isoformat()
            case "excel":
                return str((value - date(1899, 12, 30)).days)
            case text:
                return value.strftime(text)


LINES = st.lists(
    st.builds(
        Line,
        st.integers(1, 20).map("T{:03}".format),
        st.integers(1, 6),
        st.sampled_from((121, 122)),
        st.sampled_from(PRODUCTS),
        st.dates(date(2024, 1, 1), date(2024, 3, 31)),
        st.integers(1, 4),
        st.integers(1, 500_000).map(lambda cents: Decimal(cents).scaleb(-2)),
        st.integers(-3, 1500).filter(bool),
    ),
    min_size=1,
    max_size=12,
)


@st.composite
def spellings(draw: st.DrawFn) -> Spelling:
    form = draw(st.sampled_from(("csv", "csv", "csv", "csv", "jsonl", "parquet")))
    order = tuple(draw(st.permutations(NAMES)))
    renames = {name: f"Spalte {name[:3]} {len(name)}" for name in draw(st.sets(st.sampled_from(NAMES)))}
    block: dict[str, Any] = {"match": "sales/**", "format": form}
    decimal = draw(st.sampled_from((".", ",")))
    if decimal == ",":
        block["decimal"] = decimal
    if thousands := draw(st.sampled_from(("", "'", " ", "." if decimal == "," else ","))):
        block["thousands"] = thousands
    if draw(st.booleans()):
        block["accounting"] = True
    if draw(st.booleans()):
        block["dates"] = [draw(st.sampled_from(FORMATS))]
    if renames:
        block["columns"] = {new: old for old, new in renames.items()}
    if form != "csv":
        return Spelling(block, form, order, renames)
    block["delimiter"] = draw(st.sampled_from((",", ";", "\t", "|")))
    block["quote"] = draw(st.sampled_from(('"', "'")))
    encoding = draw(st.sampled_from(("utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le")))
    block["encoding"] = encoding.removesuffix("-sig")
    header = draw(st.booleans())
    if not header:
        block["header"] = [renames.get(name, name) for name in order]
    title = draw(st.integers(0, 2))
    if title:
        block["skip_lines"] = title
    return Spelling(block, form, order, renames, header, title, draw(st.sampled_from(("\n", "\r\n", "\r"))), encoding)


def values(line: Line, spelling: Spelling) -> dict[str, str]:
    return {
        "transaction_id": line.transaction,
        "customer_id": str(line.customer),
        "store_id": str(line.store),
        "product_name": line.product,
        "sales_date": spelling.day(line.day),
        "sales_person_id": str(line.person),
        "price": spelling.number(line.price),
        "quantity": spelling.number(line.quantity),
        "total_cost": spelling.number(line.total),
    }


def written(lines: list[Line], spelling: Spelling) -> bytes:
    """Return a file with the lines."""
    names = [spelling.renames.get(name, name) for name in spelling.order]
    rows = [[values(line, spelling)[name] for name in spelling.order] for line in lines]
    if spelling.format == "jsonl":
        return "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows).encode()
    if spelling.format == "parquet":
        sink = io.BytesIO()
        columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
        pq.write_table(pa.table(columns, names=names), sink, row_group_size=3)
        return sink.getvalue()
    text = io.StringIO(newline="")
    writer = csv.writer(
        text,
        delimiter=spelling.block["delimiter"],
        quotechar=spelling.block["quote"],
        lineterminator=spelling.line_end,
    )
    text.write("".join(f"Report {number}{spelling.line_end}" for number in range(spelling.title)))
    writer.writerows([names, *rows] if spelling.header else rows)
    return text.getvalue().encode(spelling.encoding)


def marts_of(folder: Path, data: bytes, blocks: list[dict[str, Any]], key: str) -> tuple[Any, int]:
    place = Place(folder, settings={"sources": blocks})
    place.put_dimensions()
    place.put(key, data)
    report = place.build()
    assert report.exit_code == 0, report.drops
    return place.marts(), report.totals.rows_read


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
