"""Rows in which two generations of a mart differ: the database compares them, and only these rows are read.

Generations of which one is a patch over the other differ in the rows of the patch; others are joined by their keys.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from jobs.adapters.warehouse.sql_patches import ADDED, REMOVED, SqlPatches, patch_of, restricted
from jobs.ports.differences import Comparison, RowDifference, SumDifference
from jobs.ports.records import Generation
from marts.pack import Mart, MartColumn

_MISSING = "its rows of one of the publications are not in the target any more"


@dataclass(frozen=True)
class _Rows:
    """Some rows of a table: one side of a comparison."""

    table: str
    own: Mapping[str, int]
    """Columns that distinguish them from other rows of the table."""
    exist: bool = True

    def where(self, alias: str) -> str:
        """Return the condition for them."""
        return f"1 = {self.exist:d}{restricted(self.own, alias)}"


@dataclass(frozen=True)
class _Totals:
    """Sums over some rows."""

    rows: int
    keys: int
    """Different keys."""
    sums: tuple[Decimal, ...]


class SqlDifferences(SqlPatches):
    """Differences of marts in a SQL database."""

    own_tables: str
    """Condition for the tables of the target in information_schema.columns."""

    def differ(self, column: MartColumn) -> str:
        """Return the SQL of whether the values of rows ``a`` and ``b`` in a column differ, as they are stored."""
        raise NotImplementedError

    def compare(self, mart: Mart, before: Generation | None, after: Generation | None, limit: int) -> Comparison:
        if before and after and before.generation == after.generation:
            return Comparison(unchanged=after.row_count)
        was, now = self._sides(mart, before, after)
        types, types_now = self._types(was.table), self._types(now.table)
        both = {name for name, type_ in types.items() if types_now.get(name) == type_}
        if why_not := _other_key(mart, both) if types and types_now else _MISSING:
            return Comparison(why_not=why_not)
        values = [column for column in mart.columns if column.name in both and column.name not in mart.key]
        money = [column.name for column in values if column.type == "money"]
        summed = [mart.control] if mart.control in money else []  # a sum of other columns may mean nothing: averages
        totals, totals_now = self._totals(mart, was, summed), self._totals(mart, now, summed)
        is_patch = was.table == now.table and "side" in was.own
        whole = self._totals(mart, self._all(mart, after), summed) if is_patch and after else totals_now
        loaded = [(after, whole)] if is_patch else [(before, totals), (after, totals_now)]
        if any(generation and generation.row_count and not own.rows for generation, own in loaded):
            return Comparison(why_not=_MISSING)
        if any(own.rows != own.keys for own in (totals, totals_now)):
            return Comparison(why_not="its key was another: several rows have one key")
        added, changed = self._counts(mart, was, now, values)
        removed = totals.rows - (totals_now.rows - added)
        order = mart.control if mart.control in money else next(iter(money), "")
        return Comparison(
            added=added,
            removed=removed,
            changed=changed,
            unchanged=whole.rows - added - changed,
            sums=tuple(
                SumDifference(name, sum_now - (part_now - part), sum_now)
                for name, part, part_now, sum_now in zip(summed, totals.sums, totals_now.sums, whole.sums, strict=True)
            ),
            ordered_by=order,
            rows=self._first(mart, was, now, values, (added + changed, removed), order, limit),
            new_columns=tuple(sorted(types_now.keys() - types.keys())),
            removed_columns=tuple(sorted(types.keys() - types_now.keys())),
            retyped_columns=tuple(sorted((types.keys() & types_now.keys()) - both)),
        )

    def _all(self, mart: Mart, generation: Generation) -> _Rows:
        return _Rows(*self.place(mart, generation.rows_of))

    def _sides(self, mart: Mart, before: Generation | None, after: Generation | None) -> tuple[_Rows, _Rows]:
        """Return the rows to compare: those of a patch between the generations, else all rows of both."""
        if before and after and after.earlier == before.generation:
            patch = patch_of(mart, after.generation)
            return _Rows(patch, {"side": REMOVED}), _Rows(patch, {"side": ADDED})
        if before and after and before.earlier == after.generation:
            patch = patch_of(mart, before.generation)
            return _Rows(patch, {"side": ADDED}), _Rows(patch, {"side": REMOVED})
        was, now = (self._all(mart, generation) if generation else None for generation in (before, after))
        other = was or now
        assert other
        nothing = _Rows(other.table, other.own, exist=False)
        return was or nothing, now or nothing

    def _types(self, table: str) -> dict[str, str]:
        """Return the type of each column of a table; none if the table does not exist."""
        query = f"SELECT column_name, data_type FROM information_schema.columns WHERE {self.own_tables}"
        return {str(name): str(type_) for name, type_ in self.execute(f"{query} AND table_name = {self.mark}", [table])}

    def _totals(self, mart: Mart, rows: _Rows, money: Sequence[str]) -> _Totals:
        sums = "".join(f", COALESCE(SUM(r.{name}), 0)" for name in money)
        query = f"SELECT COUNT(*), {self.keys_counted(mart)}{sums} FROM {rows.table} r WHERE {rows.where('r')}"
        ((count, keys, *totals),) = self.execute(query)
        return _Totals(int(count), int(keys), tuple(Decimal(total) for total in totals))

    def _counts(self, mart: Mart, was: _Rows, now: _Rows, values: Sequence[MartColumn]) -> tuple[int, int]:
        """Return the number of rows that were added, and of those that were changed."""
        is_new, is_changed = f"a.{_present(mart)} IS NULL", self._any_differs(values)
        query = (
            f"SELECT COUNT(CASE WHEN {is_new} THEN 1 END), COUNT(CASE WHEN NOT {is_new} AND {is_changed} THEN 1 END) "
            f"FROM {_joined(mart, now, 'b', was, 'a')}"
        )
        ((added, changed),) = self.execute(query)
        return int(added), int(changed)

    def _any_differs(self, values: Sequence[MartColumn]) -> str:
        return f"({' OR '.join(map(self.differ, values)) or '1 = 0'})"

    def _first(
        self,
        mart: Mart,
        was: _Rows,
        now: _Rows,
        values: Sequence[MartColumn],
        counts: tuple[int, int],
        order: str,
        limit: int,
    ) -> tuple[RowDifference, ...]:
        """Return the first rows that differ; ``counts`` are those that exist now, and those that do not any more."""
        present, names = _present(mart), [column.name for column in values]
        sides = ", ".join(f"{side}.{name} AS {side}_{number}" for side in "ab" for number, name in enumerate(names))
        effect = f"ABS(COALESCE(b.{order}, 0) - COALESCE(a.{order}, 0))" if order else "0"

        def selected(change: str, of: str, joined: str, condition: str) -> str:
            keys = ", ".join(f"{of}.{name} AS k_{number}" for number, name in enumerate(mart.key))
            columns = ", ".join(filter(None, [f"{change} AS row_change", f"{effect} AS effect", keys, sides]))
            return f"SELECT {columns} FROM {joined} AND {condition}"

        change = f"CASE WHEN a.{present} IS NULL THEN 'added' ELSE 'changed' END"
        is_other = f"(a.{present} IS NULL OR {self._any_differs(values)})"
        parts = (
            selected(change, "b", _joined(mart, now, "b", was, "a"), is_other),
            selected("'removed'", "a", _joined(mart, was, "a", now, "b"), f"b.{present} IS NULL"),
        )
        existing = [part for part, count in zip(parts, counts, strict=True) if count]
        if not existing or not limit:
            return ()
        keys = ", ".join(f"k_{number}" for number in range(len(mart.key)))
        first = f"ORDER BY effect DESC, {keys} LIMIT {limit:d}"
        rows = self.execute(f"{' UNION ALL '.join(f'({part} {first})' for part in existing)} {first}")
        flags = {column.name for column in mart.columns if column.type == "flag"}
        return tuple(_difference(mart, names, flags, row) for row in rows)


def _other_key(mart: Mart, both: set[str]) -> str:
    """Return why rows cannot be matched by their keys; ``both`` are the columns that both sides have."""
    if other := [name for name in mart.key if name not in both]:
        return f"{other[0]}, of its key, was not in one of the publications, or of another type"
    return "" if _present(mart) else "each column of its key may be NULL"


def _present(mart: Mart) -> str:
    """Return a column of the key that is never NULL: if it is, an outer join has no such row."""
    nullable = {column.name for column in mart.columns if column.nullable}
    return next((name for name in mart.key if name not in nullable), "")


def _joined(mart: Mart, rows: _Rows, alias: str, other: _Rows, alias_of_other: str) -> str:
    """Return the SQL of rows, each with that of its key in others, if there is one."""
    nullable = {column.name for column in mart.columns if column.nullable}
    on = [
        f"(a.{name} = b.{name}{f' OR (a.{name} IS NULL AND b.{name} IS NULL)' if name in nullable else ''})"
        for name in mart.key
    ]
    return (
        f"{rows.table} {alias} LEFT JOIN {other.table} {alias_of_other} "
        f"ON {other.where(alias_of_other)} AND {' AND '.join(on)} WHERE {rows.where(alias)}"
    )


def _difference(mart: Mart, names: Sequence[str], flags: set[str], row: Sequence[Any]) -> RowDifference:
    change, _, *values = row
    key = dict(zip(mart.key, values, strict=False))
    rest = values[len(key) :]
    was, now = dict(zip(names, rest, strict=False)), dict(zip(names, rest[len(names) :], strict=True))
    for own in (key, was, now):
        own |= {name: bool(value) for name, value in own.items() if name in flags and value is not None}
    if change == "changed":
        same = {name for name in names if was[name] == now[name]}
        was, now = ({name: value for name, value in own.items() if name not in same} for own in (was, now))
    return RowDifference(change, key, {} if change == "added" else was, {} if change == "removed" else now)
