"""A pack as settings change it: with ids that are texts, or without customer analytics."""

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
    left = pack.analytics
    return replace(
        pack,
        tables={name: mart for name, mart in pack.tables.items() if name not in left},
        months={name: table for name, table in pack.months.items() if name not in left},
        numbers=tuple(number for number in pack.numbers if not number.group),
        number_tables=tuple(table for table in pack.number_tables if not table.group),
        highlights=tuple(item for item in pack.highlights if item.table not in left),
        views=tuple(view for view in pack.views if view.table not in left),
        alerts=tuple(alert for alert in pack.alerts if alert.table not in left),
        analytics=frozenset(),
    )


def _of_texts(column: SourceColumn) -> SourceColumn:
    return replace(column, type="text_id", max_length=ID_LENGTH) if column.type == "id" else column


def _of_text(column: MartColumn) -> MartColumn:
    if column.type == "id":
        return replace(column, type="text_id", max_length=ID_LENGTH)
    return replace(column, type="text", max_length=ID_LENGTH + 9) if column.type == "version" else column
