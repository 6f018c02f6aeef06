"""The cells of one publication in memory, and the sums that pages ask of them.

Amounts are whole hundredths; a value that a dimension lacks is `UNKNOWN`. The text of a reader never becomes SQL: names
come from the dashboard, values are bound.
"""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from jobs.pages.choice import Bounds, Choice, Range
from marts.dashboard import Dashboard, Dimension, Elsewhere, Figure
from marts.pack import Mart

UNKNOWN = "unknown"
Sums = tuple[int, ...]
"""One for each of `Cube.columns`."""


@dataclass(frozen=True)
class Option:
    """A value that can be chosen, with the count of its rows under all other choices."""

    value: str
    name: str
    count: int
    is_chosen: bool


class Cube:
    """Cells of one publication, which do not change."""

    def __init__(
        self, dashboard: Dashboard, marts: Mapping[str, Mart], tables: Mapping[str, pa.Table], as_of: date
    ) -> None:
        """Load the tables of a dashboard, by the name of the mart."""
        self.dashboard, self._marts = dashboard, marts
        self.columns = dashboard.sums
        types = {column.name: column.type for column in marts[dashboard.table].columns}
        self.units = {name: types[name] for name in self.columns}
        self._money = {
            (name, column.name) for name in tables for column in marts[name].columns if column.type == "money"
        }
        self._database = duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": False})
        for name, table in tables.items():
            self._database.register(f"given_{name}", table)
        self._create_cells()
        self._create_months()
        self.names = {name: self._names(name) for name in dashboard.dimensions}
        for name in tables:
            self._database.unregister(f"given_{name}")
        self.bounds = self._bounds(as_of)
        self._local = threading.local()

    def _create_cells(self) -> None:
        board, mart = self.dashboard, self._marts[self.dashboard.table]
        described = {item.table: item for item in board.dimensions.values() if item.table}
        columns = [f"c.{board.date} AS day"]
        columns += [f"{self._value(name)} AS d_{name}" for name in board.dimensions]
        columns += [f"{_whole(mart, column, 'c')} AS s_{column}" for column in self.columns]
        joins = "".join(_joined(item, f"c.{item.on}", f"c.{board.date}") for item in described.values())
        self._database.execute(f"CREATE TABLE cells AS SELECT {', '.join(columns)} FROM given_{board.table} c{joins}")

    def _value(self, name: str) -> str:
        """Return the SQL of the value of a dimension in a cell."""
        dimension = self.dashboard.dimensions[name]
        return _text(f"{dimension.table or 'c'}.{dimension.column}")

    def _create_months(self) -> None:
        """Create a table for each figure of a table by month: month, the dimensions that it knows, split, and sums."""
        for name, figure in self.dashboard.figures.items():
            of = figure.of
            if of is None:
                continue
            mart, own, others = self._marts[of.table], _matching(of.where), _matching(of.per_where or of.where)
            columns = [
                f"c.{of.month} AS month",
                *(f"{self._value_elsewhere(of, n)} AS d_{n}" for n in self._known_by(of)),
            ]
            columns.append(f"{_text(f'c.{of.split.column}')} AS split" if of.split else "'' AS split")
            columns.append(f"{_added(mart, figure.sum, own)} AS total")
            columns.append(f"{_added(mart, figure.per, others) if figure.per else '0'} AS per")
            joins = "".join(self._joins_elsewhere(of))
            rows = f"FROM given_{of.table} c{joins} WHERE ({own}) OR ({others}) GROUP BY ALL"
            self._database.execute(f"CREATE TABLE of_{name} AS SELECT {', '.join(columns)} {rows}")

    def _known_by(self, of: Elsewhere) -> list[str]:
        """Return the dimensions that a table by month knows: its own, and those that describe one of its columns."""
        keys = {self.dashboard.dimensions[name].on for name in of.by if self.dashboard.dimensions[name].on}
        described = [name for name, item in self.dashboard.dimensions.items() if item.on and item.on in keys]
        return list(dict.fromkeys([*of.by, *described]))

    def _value_elsewhere(self, of: Elsewhere, name: str) -> str:
        dimension = self.dashboard.dimensions[name]
        return _text(f"{dimension.table}.{dimension.column}" if dimension.table else f"c.{of.by[name]}")

    def _joins_elsewhere(self, of: Elsewhere) -> list[str]:
        day, joins = f"last_day((c.{of.month} || '-01')::DATE)", dict[str, str]()
        for name, column in of.by.items():
            dimension = self.dashboard.dimensions[name]
            if dimension.table:
                joins[dimension.table] = _joined(dimension, f"c.{column}", day)
        return list(joins.values())

    def _names(self, name: str) -> dict[str, str]:
        """Return the last names of a dimension's values, if they have others than themselves.

        Values of the same name are told apart by themselves in brackets.
        """
        dimension = self.dashboard.dimensions[name]
        if not dimension.named_by:
            return {}
        rows = self._database.execute(
            f"SELECT {dimension.column}::VARCHAR, {dimension.named_by} FROM given_{dimension.table}"
            f" ORDER BY {dimension.during[0] if dimension.during else 1}"
        ).fetchall()
        names = {str(value): str(text) for value, text in rows if text is not None}
        counts = Counter(names.values())
        return {value: text if counts[text] == 1 else f"{text} ({value})" for value, text in names.items()}

    def _bounds(self, as_of: date) -> Bounds:
        ((first,),) = self._database.execute("SELECT min(day) FROM cells").fetchall()
        return Bounds(first or as_of, as_of)

    def name_of(self, dimension: str, value: str) -> str:
        return self.names[dimension].get(value, value)

    def settled(self, choice: Choice) -> tuple[Choice, list[str]]:
        """Return a choice without values that have no rows under those before it, and a sentence for each of these."""
        kept, dropped = Choice(choice.range, {}, choice.compare, choice.pinned), []
        for name, values in choice.chosen.items():
            label = self.dashboard.dimensions[name].label.lower()
            existing = {option.value for option in self._counts(name, kept)}
            possible = [value for value in values if value in existing]
            known = (
                {option.value for option in self._counts(name, Choice(self._all_days))}
                if len(possible) < len(values)
                else existing
            )
            for value in values:
                if value in known and value not in existing:
                    others = ", ".join(self.name_of(n, v) for n, own in kept.chosen.items() for v in own)
                    where = f" in {others}" if others else ""
                    dropped.append(f"{self.name_of(name, value)} has no rows{where} on these days: taken out.")
                elif value not in known:
                    dropped.append(f"A {label} of the address is not known: taken out.")
            kept = kept.with_values(name, possible)
        return kept, [*dict.fromkeys(dropped)]

    @property
    def _all_days(self) -> Range:
        return Range(self.bounds.first, self.bounds.last)

    def options(self, choice: Choice) -> dict[str, list[Option]]:
        """Return what can be chosen in each dimension: values with rows under all other choices.

        A dimension below another one in a hierarchy does not restrict it: choosing another region is always possible.
        """
        results = {}
        for name in self.dashboard.dimensions:
            under = [other for other in choice.chosen if name in self.dashboard.above(other)]
            others = choice
            for other in {name, *under}:
                others = others.with_values(other, ())
            own = set(choice.values(name))
            results[name] = [
                Option(item.value, item.name, item.count, item.value in own) for item in self._counts(name, others)
            ]
        return results

    def _counts(self, name: str, choice: Choice) -> list[Option]:
        count = self.dashboard.figures[self.dashboard.count].sum
        rows = self._sums([f"d_{name}"], choice, choice.range, [f"sum(s_{count})"])
        options = [Option(value, self.name_of(name, value), int(total), False) for value, total in rows]
        return sorted(options, key=lambda option: (option.value == UNKNOWN, option.name, option.value))

    def total(self, choice: Choice, days: Range) -> Sums:
        """Return the sums of all chosen cells in some days."""
        ((*sums,),) = self._sums([], choice, days)
        return tuple(sums)

    def by_day(self, choice: Choice, days: Range) -> dict[date, Sums]:
        """Return the sums of each day with a cell."""
        return {day: tuple(sums) for day, *sums in self._sums(["day"], choice, days)}

    def by_month(self, choice: Choice, days: Range) -> dict[str, Sums]:
        """Return the sums of each month with a cell."""
        return {month: tuple(sums) for month, *sums in self._sums(["strftime(day, '%Y-%m')"], choice, days)}

    def by_value(self, dimension: str, choice: Choice, days: Range) -> dict[str, Sums]:
        """Return the sums of each value of a dimension."""
        return {value: tuple(sums) for value, *sums in self._sums([f"d_{dimension}"], choice, days)}

    def by_value_and_day(
        self, dimension: str, values: Sequence[str], choice: Choice, days: Range
    ) -> dict[str, dict[date, Sums]]:
        """Return the sums of each day of some values of a dimension."""
        if not values:
            return {}
        chosen = choice.with_values(dimension, values)
        results: dict[str, dict[date, Sums]] = {value: {} for value in values}
        for value, day, *sums in self._sums([f"d_{dimension}", "day"], chosen, days):
            results[value][day] = tuple(sums)
        return results

    def count(self, choice: Choice) -> int:
        """Return the number of chosen cells."""
        where, values = self._where(choice, choice.range)
        ((count,),) = self._ask(f"SELECT count(*) FROM cells WHERE {where}", values)
        return int(count)

    def cells(self, choice: Choice, limit: int | None = None, offset: int = 0) -> list[tuple[Any, ...]]:
        """Return chosen cells in order, day first, with their dimensions and sums; all, or so many."""
        where, values = self._where(choice, choice.range)
        names = ["day", *(f"d_{name}" for name in self.dashboard.dimensions), *(f"s_{name}" for name in self.columns)]
        order = ", ".join(str(n + 1) for n in range(1 + len(self.dashboard.dimensions)))
        query = f"SELECT {', '.join(names)} FROM cells WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"
        return self._ask(query, [*values, limit, offset])

    def elsewhere(self, name: str, choice: Choice) -> dict[str, tuple[int, int]]:
        """Return the two sums of a figure of a table by month in each month."""
        where, values = _chosen(choice)
        query = f"SELECT month, sum(total), sum(per) FROM of_{name} WHERE {where} GROUP BY month"
        return {month: (int(a), int(b)) for month, a, b in self._ask(query, values)}

    def elsewhere_by_value(self, name: str, choice: Choice) -> dict[str, dict[str, tuple[int, int]]]:
        """Return the two sums of a figure of a table by month in each month, by the values that split it."""
        where, values = _chosen(choice)
        query = f"SELECT split, month, sum(total), sum(per) FROM of_{name} WHERE {where} GROUP BY ALL ORDER BY ALL"
        results: dict[str, dict[str, tuple[int, int]]] = {}
        for value, month, a, b in self._ask(query, values):
            results.setdefault(value, {})[month] = (int(a), int(b))
        return results

    def scales(self, figure: Figure) -> tuple[int, int]:
        """Return how many of the whole numbers in a figure's two sums are one: 100 of money."""
        table = figure.of.table if figure.of else self.dashboard.table
        first, second = (100 if (table, name) in self._money else 1 for name in (figure.sum, figure.per))
        return first, second

    def unknown_to(self, of: Elsewhere, choice: Choice) -> list[str]:
        """Return the labels of chosen dimensions that a table by month does not know."""
        known = self._known_by(of)
        return [self.dashboard.dimensions[name].label for name in choice.chosen if name not in known]

    def _sums(
        self, by: Sequence[str], choice: Choice, days: Range, sums: Sequence[str] | None = None
    ) -> list[tuple[Any, ...]]:
        """Return sums of chosen cells by some columns."""
        where, values = self._where(choice, days)
        columns = sums or [f"coalesce(sum(s_{name}), 0)::BIGINT" for name in self.columns]
        group = f" GROUP BY {', '.join(map(str, range(1, len(by) + 1)))}" if by else ""
        return self._ask(f"SELECT {', '.join([*by, *columns])} FROM cells WHERE {where}{group}", values)

    def _where(self, choice: Choice, days: Range) -> tuple[str, list[Any]]:
        chosen, values = _chosen(choice)
        return f"day BETWEEN ? AND ? AND {chosen}", [days.first, days.last, *values]

    def _ask(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run a query, in this thread's own cursor."""
        cursor: duckdb.DuckDBPyConnection | None = getattr(self._local, "cursor", None)
        if cursor is None:
            cursor = self._local.cursor = self._database.cursor()
        rows: list[tuple[Any, ...]] = cursor.execute(query, list(values)).fetchall()
        return rows


def _chosen(choice: Choice) -> tuple[str, list[Any]]:
    """Return the condition of the chosen values, and what is bound in it."""
    conditions = ["true", *(f"d_{name} IN (SELECT unnest(?))" for name in choice.chosen)]
    return " AND ".join(conditions), [list(own) for own in choice.chosen.values()]


def _text(column: str) -> str:
    """Return the SQL of the value of a dimension."""
    return f"coalesce(nullif(trim({column}::VARCHAR), ''), '{UNKNOWN}')"


def _joined(dimension: Dimension, key: str, day: str) -> str:
    """Return the SQL that joins the table that describes a column: its row of the day, if it has several of a key."""
    table, during = dimension.table, ""
    if dimension.during:
        first, after = dimension.during
        during = f" AND {day} >= {table}.{first} AND {day} < {table}.{after}"
    return f" LEFT JOIN given_{table} AS {table} ON {table}.{dimension.on} = {key}{during}"


def _matching(where: Mapping[str, str]) -> str:
    """Return the condition of rows that have some values."""
    return " AND ".join(["true", *(f"c.{column} = {_literal(value)}" for column, value in where.items())])


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _added(mart: Mart, column: str, condition: str) -> str:
    return f"coalesce(sum({_whole(mart, column, 'c')}) FILTER (WHERE {condition}), 0)::BIGINT"


def _whole(mart: Mart, column: str, table: str) -> str:
    """Return the SQL of a column as a whole number: hundredths of money."""
    type_ = next(item.type for item in mart.columns if item.name == column)
    return f"({table}.{column} * 100)::BIGINT" if type_ == "money" else f"{table}.{column}::BIGINT"


def each_day(days: Range) -> list[date]:
    """Return the days of a range."""
    return [days.first + timedelta(days=number) for number in range(days.days)]
