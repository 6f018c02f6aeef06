"""Highlights of the retail pack, from figures that a test gives."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any

from jobs.report.highlights import ReportedHighlight, highlights_of
from marts.compute.highlights import Figures, Item, Sums, Top
from marts.highlights import TopHighlight
from support.retail import RETAIL


def months(totals: Iterable[tuple[str, str, int]]) -> Figures:
    """Return figures of months: month, total and purchases of each."""
    sums = tuple(Sums(of=(month,), rows=1, cents=_cents(total), count=count) for month, total, count in totals)
    return Figures(sums={"revenue": sums})


def groups(totals: Iterable[tuple[str, bool, int, str]]) -> Figures:
    """Return figures of segments: name, whether inactive, customers and their value."""
    sums = tuple(Sums(of=(name, away), rows=rows, cents=_cents(total)) for name, away, rows, total in totals)
    return Figures(sums={"customers": sums})


def top(name: str, rows: Iterable[dict[str, Any]], left_out: int = 0) -> Figures:
    """Return figures of listed rows, by column; money and rates are Decimal."""
    (item,) = (item for item in RETAIL.highlights if item.name == name and isinstance(item, TopHighlight))
    key = RETAIL.marts[item.table].key
    items = tuple(
        Item(
            key=tuple(row.get(column) for column in key),
            order=_plain(row[item.order]),
            values=tuple(_plain(row.get(column)) for column in item.stored),
        )
        for row in rows
    )
    return Figures(tops={name: Top(items=items, rows=len(items) + left_out, limit=item.limit)})


def highlights(*parts: Figures, as_of: date = date.max) -> tuple[ReportedHighlight, ...]:
    """Return highlights as a report has them."""
    sums = {name: value for part in parts for name, value in part.sums.items()}
    tops = {name: value for part in parts for name, value in part.tops.items()}
    return highlights_of(RETAIL, dict.fromkeys(RETAIL.marts, Figures(sums=sums, tops=tops)), as_of)


def _cents(total: str) -> int:
    return int(Decimal(total) * 100)


def _plain(value: Any) -> Any:
    return int(value * 100) if isinstance(value, Decimal) else value
