"""Merge the rows of a table of months from those of its days, as the pack states."""

from collections.abc import Sequence

import pyarrow as pa

from marts.compute.engine import running, selected
from marts.errors import SqlFailed
from marts.pack import MonthTable


def merged(table: MonthTable, days: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of a month, in the order of their key, from those of its days. Raise SqlFailed on overflow."""
    schema = days[0].schema
    if table.by_day == "rows":
        return _in_order(pa.concat_tables(days), table)
    keys = ", ".join(f'"{name}"' for name in table.key)
    values = (f'{table.merge[n]}("{n}") AS "{n}"' for n in schema.names if n not in table.key)
    text = f"SELECT {', '.join([keys, *values])} FROM days GROUP BY {keys} ORDER BY {keys}"
    with running({"days": pa.concat_tables(days)}, {}) as engine:
        rows = selected(engine, text, table.name)
    try:
        return rows.select(schema.names).cast(schema)
    except pa.ArrowInvalid as error:
        hint = "give the column a larger type in the SQL; the live marts are untouched"
        raise SqlFailed(f"a sum over the days of a month is too large: {error}", _where(table), hint) from error


def _in_order(rows: pa.Table, table: MonthTable) -> pa.Table:
    """Return rows in the order of their key, and of their other columns."""
    others = [name for name in rows.column_names if name not in table.key]
    names = ", ".join(f'"{name}"' for name in (*table.key, *others))
    with running({"days": rows}, {}) as engine:
        return selected(engine, f"SELECT * FROM days ORDER BY {names}", table.name).select(rows.column_names)


def hash_of_rows(rows: pa.Table) -> int:
    """Return a number that rows in any order have in common, and that adds up over the rows of days."""
    columns = ", ".join(f'"{name}"' for name in rows.column_names)
    with running({"days": rows}, {}) as engine:
        ((total,),) = engine.sql(f"SELECT coalesce(sum(hash({columns})::HUGEINT), 0) FROM days").fetchall()
        return int(total)


def require_equal(table: MonthTable, of_days: pa.Table, whole: pa.Table) -> None:
    """Raise SqlFailed if rows merged from days differ from those that the lines of the month give as a whole."""
    if of_days.equals(whole):
        return
    names = [name for name in whole.column_names if name not in table.key]
    raise differs(table, next((name for name in names if not of_days[name].equals(whole[name])), ""))


def differs(table: MonthTable, column: str = "") -> SqlFailed:
    """Return the error of rows of days that differ, in a column, from those of the month as a whole."""
    what = "the days of a month, merged, differ from the month as a whole"
    how = f' in {column}: merge.{column} = "{table.merge[column]}" is not how its values add up' if column else ""
    hint = "correct it, or leave out merge: the month is then computed whole; the live marts are untouched"
    return SqlFailed(f"{what}{how}", _where(table), hint)


def _where(table: MonthTable) -> str:
    return f"tables.{table.name}.merge"
