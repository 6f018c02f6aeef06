"""A pack as settings change it: with ids that are texts, without customer analytics, or without some marts."""

from collections.abc import Iterable
from dataclasses import replace

from marts.pack import ID_LENGTH, MartColumn, Pack, SourceColumn


def with_text_ids(pack: Pack) -> Pack:
    """Return the pack with ids that are texts, as they stand, instead of whole numbers."""
    kinds = {name: replace(kind, columns=tuple(map(_of_texts, kind.columns))) for name, kind in pack.kinds.items()}
    tables = {name: replace(mart, columns=tuple(map(_of_text, mart.columns))) for name, mart in pack.tables.items()}
    subject = replace(pack.subject, has_text_ids=True) if pack.subject else None
    return replace(pack, kinds=kinds, tables=tables, subject=subject)


def without_analytics(pack: Pack) -> Pack:
    """Return the pack without the tables of customer analytics, and what is about them."""
    return replace(
        without(pack, pack.analytics),
        numbers=tuple(number for number in pack.numbers if not number.group),
        number_tables=tuple(table for table in pack.number_tables if not table.group),
        analytics=frozenset(),
    )


def without(pack: Pack, names: Iterable[str]) -> Pack:
    """Return the pack without some tables, those that read them, those that only these read, and what is about them."""
    left = {*names}
    while more := {name for name in pack.tables if name not in left and {*pack.tables_read(name)} & left}:
        left |= more
    tables = {name: table for name, table in pack.tables.items() if name not in left}
    needed = [name for name, table in tables.items() if table.table or table.stops[0]]
    for name in needed:  # it grows
        needed += [other for other in _read_by(pack, name) if other not in needed]
    views = []
    for view in pack.database_views:  # each may read those before it
        if {*view.reads} & left:
            left.add(view.name)
        else:
            views.append(view)
    return replace(
        pack,
        tables={name: table for name, table in tables.items() if name in needed},
        months={name: table for name, table in pack.months.items() if name in needed},
        highlights=tuple(item for item in pack.highlights if item.table not in left),
        views=tuple(view for view in pack.views if view.table not in left),
        alerts=tuple(alert for alert in pack.alerts if alert.table not in left),
        database_views=tuple(views),
        analytics=pack.analytics - left,
    )


def _read_by(pack: Pack, name: str) -> list[str]:
    """Return the tables that a table reads, those of months included."""
    if name in pack.months:
        table = pack.months[name]
        return [*table.also, *table.lookback]
    mart = pack.tables[name]
    return [other for other in (mart.reads, *mart.also) if other]


def _of_texts(column: SourceColumn) -> SourceColumn:
    return replace(column, type="text_id", max_length=ID_LENGTH) if column.type == "id" else column


def _of_text(column: MartColumn) -> MartColumn:
    if column.type == "id":
        return replace(column, type="text_id", max_length=ID_LENGTH)
    return replace(column, type="text", max_length=ID_LENGTH + 9) if column.type == "version" else column
