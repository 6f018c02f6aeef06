"""Compute the figures of a pack's highlights from the rows of a mart.

Figures are computed per part of a mart. Parts are merged in any order, without the rows.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from marts.highlights import GroupsHighlight, Highlight, MonthsHighlight, TopHighlight
from marts.pack import Mart

Value = bool | int | str | None
"""A value of a row: decimals as whole numbers of their last digit, days as text."""


_HIGHEST = "value by which rows are listed"
"""Name of a column beside those of a mart."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Sums(_Part):
    """Sums over the rows of one month or group."""

    of: tuple[Value, ...]
    rows: int
    cents: int
    count: int = 0


class Item(_Part):
    """A row with one of the highest values."""

    key: tuple[Value, ...]
    order: int
    values: tuple[Value, ...]


class Top(_Part):
    """The rows with the highest values of a part."""

    items: tuple[Item, ...]
    rows: int
    """Rows among which they were chosen."""
    limit: int


class Figures(_Part):
    """Figures of a mart, or of a part of it, by highlight. Money is exact."""

    sums: dict[str, tuple[Sums, ...]] = {}
    tops: dict[str, Top] = {}


def figures_of(highlights: Sequence[Highlight], mart: Mart, rows: pa.Table) -> Figures:
    """Compute the figures of some rows of a mart; the rows are sorted by its key."""
    own = [item for item in highlights if item.table == mart.name]
    once = {name: _once(rows, name) for name in {item.once_per for item in own}}
    sums = {item.name: _sums(item, once[item.once_per]) for item in own if not isinstance(item, TopHighlight)}
    tops = {item.name: _top(item, mart, once[item.once_per]) for item in own if isinstance(item, TopHighlight)}
    return Figures(sums=sums, tops=tops)


def together(parts: Iterable[Figures]) -> Figures:
    """Merge the figures of several parts of one mart."""
    every = list(parts)
    names = sorted({name for part in every for name in part.sums})
    tops = sorted({name for part in every for name in part.tops})
    return Figures(
        sums={name: _added([(1, part.sums.get(name, ())) for part in every]) for name in names},
        tops={name: _merged([part.tops[name] for part in every if name in part.tops]) for name in tops},
    )


def exchanged(before: Figures, ids: np.ndarray, were: Figures, are: Figures) -> Figures | None:
    """Update the figures of all rows of a mart after those of some keys (``ids``, of the first key column) changed.

    ``were`` and ``are`` are the old and new figures of these keys. Return None if the highest rows cannot be derived:
    one of them dropped out of the list, and the one that moves up is not in ``before``.
    """
    sums = {
        name: _added([(1, known), (-1, were.sums.get(name, ())), (1, are.sums.get(name, ()))])
        for name, known in before.sums.items()
    }
    changed, tops = set(ids.tolist()), {}
    for name, top in before.tops.items():
        left = [item for item in top.items if item.key[0] not in changed]
        items = sorted([*left, *are.tops[name].items], key=_place)[: top.limit]
        is_cut = top.rows > len(top.items)
        if is_cut and (len(items) < top.limit or _place(items[-1]) > _place(top.items[-1])):
            return None
        rows = top.rows - were.tops[name].rows + are.tops[name].rows
        tops[name] = Top(items=tuple(items), rows=rows, limit=top.limit)
    return Figures(sums=sums, tops=tops)


def _added(parts: Iterable[tuple[int, tuple[Sums, ...]]]) -> tuple[Sums, ...]:
    """Add up sums, each with its sign, in the order of what they are of; those without rows are left out."""
    totals: dict[tuple[Value, ...], list[int]] = {}
    for sign, sums in parts:
        for item in sums:
            total = totals.setdefault(item.of, [0, 0, 0])
            for place, value in enumerate((item.rows, item.cents, item.count)):
                total[place] += sign * value
    ordered = sorted(totals.items(), key=lambda pair: _order(pair[0]))
    return tuple(Sums(of=of, rows=rows, cents=cents, count=count) for of, (rows, cents, count) in ordered if rows)


def _merged(tops: Sequence[Top]) -> Top:
    items = sorted((item for top in tops for item in top.items), key=_place)[: tops[0].limit]
    return Top(items=tuple(items), rows=sum(top.rows for top in tops), limit=tops[0].limit)


def _place(item: Item) -> tuple[Any, ...]:
    return -item.order, _order(item.key)


def _order(values: tuple[Value, ...]) -> tuple[tuple[bool, Any], ...]:
    return tuple((value is None, value or 0 if not isinstance(value, str) else value) for value in values)


def _once(rows: pa.Table, name: str) -> pa.Table:
    """Return the first row of each key; without a column, all rows."""
    if not name or len(rows) < 2:
        return rows
    keys = rows[name].combine_chunks()
    differs = pc.not_equal(keys.slice(1), keys.slice(0, len(keys) - 1))
    return rows.filter(pa.concat_arrays([pa.array([True]), differs]))


def _sums(item: MonthsHighlight | GroupsHighlight, rows: pa.Table) -> tuple[Sums, ...]:
    names = [item.by, *([item.flag] if isinstance(item, GroupsHighlight) and item.flag else [])]
    count = item.count if isinstance(item, MonthsHighlight) else ""
    wanted: list[tuple[Any, str]] = [([], "count_all"), (item.sum, "sum"), *([(count, "sum")] if count else [])]
    sums = [
        Sums(
            of=tuple(row[name] for name in names),
            rows=row["count_all"],
            cents=_whole(row[f"{item.sum}_sum"]),
            count=row[f"{count}_sum"] if count else 0,
        )
        for row in rows.group_by(names, use_threads=False).aggregate(wanted).to_pylist()
    ]
    return tuple(sorted(sums, key=lambda entry: _order(entry.of)))


def _top(item: TopHighlight, mart: Mart, rows: pa.Table) -> Top:
    if item.last:
        rows = rows.filter(pc.equal(rows[item.last], pc.max(rows[item.last])))
    for name, value in item.where.items():
        rows = rows.filter(pc.equal(rows[name], value))
    highest = pc.abs(rows[item.order]) if item.either_way else rows[item.order]
    rows = rows.append_column(_HIGHEST, highest)
    order = [(_HIGHEST, "descending"), *((name, "ascending") for name in mart.key)]
    chosen = rows.take(pc.sort_indices(rows, order)[: item.limit])
    items = tuple(
        Item(
            key=tuple(_plain(row[name]) for name in mart.key),
            order=_whole(row[_HIGHEST]),
            values=tuple(_plain(row[name]) for name in item.stored),
        )
        for row in chosen.to_pylist()
    )
    return Top(items=items, rows=len(rows), limit=item.limit)


def _plain(value: Any) -> Value:
    match value:
        case Decimal():
            return _whole(value)
        case date():
            return value.isoformat()
    result: Value = value
    return result


def _whole(value: Decimal | int | None) -> int:
    """Return a number, a decimal as a whole number of the last digit of its type; no value is 0."""
    return int(value.scaleb(-int(value.as_tuple().exponent))) if isinstance(value, Decimal) else int(value or 0)
