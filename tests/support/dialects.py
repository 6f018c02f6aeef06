"""Sales in random dialects: lines, how a file spells them, and the file."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

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


OTHER_NAMES = {
    "transaction_id": "Bon-Nr",
    "customer_id": "Customer No",
    "store_id": "Location ID",
    "product_name": "Artikel",
    "sales_date": "Order Date",
    "sales_person_id": "PERNR",
    "price": "Unit Price",
    "quantity": "Menge",
    "total_cost": "Line Total",
}
"""Names that other systems have."""


def unknown_name(name: str) -> str:
    """Return a name that no system has."""
    return f"Spalte {name[:3]} {len(name)}"


@st.composite
def spellings(draw: st.DrawFn, named: Callable[[str], str] = unknown_name, quotes: str = "\"'") -> Spelling:
    """Draw how a file is written; ``named`` gives the other names of columns."""
    form = draw(st.sampled_from(("csv", "csv", "csv", "csv", "jsonl", "parquet")))
    order = tuple(draw(st.permutations(NAMES)))
    renames = {name: named(name) for name in draw(st.sets(st.sampled_from(NAMES)))}
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
    block["quote"] = draw(st.sampled_from(quotes))
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
