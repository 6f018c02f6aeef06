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
from jobs.runtime.limits import time_limit
from marts.dashboard import Dashboard, Dimension, Elsewhere, Figure
from marts.errors import Busy
from marts.pack import Mart

UNKNOWN = "unknown"
LIMIT, _LIMIT_OF_ALL = 2.0, 60.0
"""Seconds that a query may take, and one that reads all chosen cells."""
_KNOWN = 200
"""Answers of `Cube.by_values` that are kept: the cells do not change."""
Sums = tuple[int, ...]
"""One for each of `Cube.columns`."""


@dataclass(frozen=True)
class Option:
    """A value that can be chosen, with the count of its rows under all other choices."""

    value: str
    name: str
    count: int
    is_chosen: bool


@dataclass(frozen=True)
class UnusualDay:
    """A day that a mart lists as unusual, in hundredths."""

    day: date
    value: int
    expected: int


class Cube:
    """Cells of one publication, which do not change."""

    def __init__(
        self,
        dashboard: Dashboard,
        marts: Mapping[str, Mart],
        tables: Mapping[str, pa.Table],
        as_of: date,
        unusual: Sequence[UnusualDay] = (),
        events: Sequence[date] = (),
    ) -> None:
        """Load the tables of a dashboard, by the name of the mart; ``events`` are days that pages mark."""
        self.dashboard, self._marts, self.unusual, self.events = dashboard, marts, unusual, events
        self.columns = dashboard.sums
        types = {column.name: column.type for column in marts[dashboard.table].columns}
        self.units = {name: types[name] for name in self.columns}
        self._money = {
            (name, column.name) for name in tables for column in marts[name].columns if column.type == "money"
        }
        self._database = duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": False})
        for name, table in tables.items():
            self._database.register(f"given_{name}", table)
        for name in dashboard.dimensions:
            self._create_type(name)
        self._create_cells()
        self._create_months()
        self.values = {name: self._values(name) for name in dashboard.dimensions}
        self.names = {name: self._names(name) for name in dashboard.dimensions}
        for name in tables:
            self._database.unregister(f"given_{name}")
        self.bounds = self._bounds(as_of)
        self.size = tables[dashboard.table].num_rows
        self._local = threading.local()
        self._known: dict[tuple[Any, ...], dict[str, dict[str, Sums]]] = {}

    def _create_type(self, name: str) -> None:
        """Create the type of a dimension's values: numbers inside, which group and compare several times as fast."""
        values = f"SELECT DISTINCT {self._value(name)} FROM {self._described()} ORDER BY 1"
        self._database.execute(f"CREATE TYPE t_{name} AS ENUM ({values})")

    def _described(self) -> str:
        """Return the SQL of the cells with the tables that describe them."""
        board = self.dashboard
        described = {item.table: item for item in board.dimensions.values() if item.table}
        joins = (_joined(item, f"c.{item.on}", f"c.{board.date}") for item in described.values())
        return f"given_{board.table} c{''.join(joins)}"

    def _create_cells(self) -> None:
        """Create the cells in the order of their days: a range reads only its part."""
        board, mart = self.dashboard, self._marts[self.dashboard.table]
        columns = [f"c.{board.date} AS day"]
        columns += [f"({self._value(name)})::t_{name} AS d_{name}" for name in board.dimensions]
        columns += [f"{_whole(mart, column, 'c')} AS s_{column}" for column in self.columns]
        self._database.execute(
            f"CREATE TABLE cells AS SELECT {', '.join(columns)} FROM {self._described()} ORDER BY day"
        )

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

    def _values(self, name: str) -> frozenset[str]:
        """Return the values of a dimension, on any day."""
        return frozenset(
            value for (value,) in self._database.execute(f"SELECT DISTINCT d_{name} FROM cells").fetchall()
        )

    def _bounds(self, as_of: date) -> Bounds:
        ((first,),) = self._database.execute("SELECT min(day) FROM cells").fetchall()
        return Bounds(first or as_of, as_of)

    def name_of(self, dimension: str, value: str) -> str:
        return self.names[dimension].get(value, value)

    def settled(self, choice: Choice) -> tuple[Choice, list[str]]:
        """Return a choice without values that have no rows under those before it, and a sentence for each of these."""
        rows = self.by_values(list(self.dashboard.dimensions), choice, choice.range)
        if all(value in rows[name] for name, values in choice.chosen.items() for value in values):
            return choice, []
        kept, dropped = Choice(choice.range, {}, choice.compare, choice.pinned), []
        for name, values in choice.chosen.items():
            label = self.dashboard.dimensions[name].label.lower()
            existing = self.by_values([name], kept, kept.range)[name]
            for value in values:
                if value in existing:
                    continue
                if value not in self.values[name]:
                    dropped.append(f"A {label} of the address is not known: taken out.")
                    continue
                others = ", ".join(self.name_of(n, v) for n, own in kept.chosen.items() for v in own)
                where = f" in {others}" if others else ""
                dropped.append(f"{self.name_of(name, value)} has no rows{where} on these days: taken out.")
            kept = kept.with_values(name, [value for value in values if value in existing])
        return kept, [*dict.fromkeys(dropped)]

    def options(self, choice: Choice, chosen: Mapping[str, Mapping[str, Sums]]) -> dict[str, list[Option]]:
        """Return what can be chosen in each dimension: values with rows under all other choices.

        A dimension below another one in a hierarchy does not restrict it: choosing another region is always possible.
        ``chosen`` are the sums of the choice itself, by value of each dimension.
        """
        alike: dict[frozenset[str], list[str]] = {}
        for name in self.dashboard.dimensions:
            free = frozenset(other for other in choice.chosen if name in self.dashboard.above(other))
            alike.setdefault(free, []).append(name)
        sums = dict(chosen)
        for free, names in alike.items():
            if free:
                others = choice
                for other in free:
                    others = others.with_values(other, ())
                sums |= self.by_values(names, others, choice.range)
        return {name: self._options(name, sums[name], choice.values(name)) for name in self.dashboard.dimensions}

    def _options(self, name: str, sums: Mapping[str, Sums], chosen: Sequence[str]) -> list[Option]:
        at = self.columns.index(self.dashboard.figures[self.dashboard.count].sum)
        options = [Option(value, self.name_of(name, value), own[at], value in chosen) for value, own in sums.items()]
        return sorted(options, key=lambda option: (option.value == UNKNOWN, option.name, option.value))

    def by_day(self, choice: Choice, days: Range) -> dict[date, Sums]:
        """Return the sums of each day with a cell."""
        return {day: tuple(sums) for day, *sums in self._sums(["day"], choice, days, "GROUP BY day")}

    def by_values(self, dimensions: Sequence[str], choice: Choice, days: Range) -> dict[str, dict[str, Sums]]:
        """Return the sums of each value of some dimensions, each by itself: all cells of the choice are read once."""
        key = (*dimensions, days, *sorted(choice.chosen.items()))
        known = self._known.get(key)
        if known is None:
            known = self._read_by_values(dimensions, choice, days)
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[key] = known
        return known

    def _read_by_values(self, dimensions: Sequence[str], choice: Choice, days: Range) -> dict[str, dict[str, Sums]]:
        columns = [f"d_{name}" for name in dimensions]
        results: dict[str, dict[str, Sums]] = {name: {} for name in dimensions}
        sets = f"GROUP BY GROUPING SETS ({', '.join(f'({column})' for column in columns)})"
        for row in self._sums(columns, choice, days, sets) if columns else ():
            at = next(number for number, value in enumerate(row) if value is not None)
            results[dimensions[at]][row[at]] = tuple(row[len(columns) :])
        return results

    def by_value_and_day(
        self, dimension: str, values: Sequence[str], choice: Choice, days: Range
    ) -> dict[str, dict[date, Sums]]:
        """Return the sums of each day of some values of a dimension."""
        if not values:
            return {}
        chosen = choice.with_values(dimension, values)
        results: dict[str, dict[date, Sums]] = {value: {} for value in values}
        for value, day, *sums in self._sums([f"d_{dimension}", "day"], chosen, days, "GROUP BY 1, 2"):
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
        return self._ask(query, [*values, limit, offset], LIMIT if limit else _LIMIT_OF_ALL)

    def elsewhere(self, name: str, choice: Choice) -> dict[str, tuple[int, int]]:
        """Return the two sums of a figure of a table by month in each month."""
        where, values = _chosen(choice, "?")
        query = f"SELECT month, sum(total), sum(per) FROM of_{name} WHERE {where} GROUP BY month"
        return {month: (int(a), int(b)) for month, a, b in self._ask(query, values)}

    def elsewhere_by_value(self, name: str, choice: Choice) -> dict[str, dict[str, tuple[int, int]]]:
        """Return the two sums of a figure of a table by month in each month, by the values that split it."""
        where, values = _chosen(choice, "?")
        query = f"SELECT split, month, sum(total), sum(per) FROM of_{name} WHERE {where} GROUP BY ALL ORDER BY ALL"
        results: dict[str, dict[str, tuple[int, int]]] = {}
        for value, month, a, b in self._ask(query, values):
            results.setdefault(value, {})[month] = (int(a), int(b))
        return results

    def scales(self, figure: Figure) -> tuple[int, int]:
        """Return how many of the whole numbers in a figure's two sums are one: 100 of money."""
        table = self.dashboard.table_of(figure)
        first, second = (100 if (table, name) in self._money else 1 for name in (figure.sum, figure.per))
        return first, second

    def unknown_to(self, of: Elsewhere, choice: Choice) -> list[str]:
        """Return the labels of chosen dimensions that a table by month does not know."""
        known = self._known_by(of)
        return [self.dashboard.dimensions[name].label for name in choice.chosen if name not in known]

    def _sums(self, by: Sequence[str], choice: Choice, days: Range, groups: str) -> list[tuple[Any, ...]]:
        """Return sums of chosen cells by some columns."""
        where, values = self._where(choice, days)
        columns = [*by, *(f"sum(s_{name})::BIGINT" for name in self.columns)]
        return self._ask(f"SELECT {', '.join(columns)} FROM cells WHERE {where} {groups}", values)

    def _where(self, choice: Choice, days: Range) -> tuple[str, list[Any]]:
        chosen, values = _chosen(choice, "TRY_CAST(? AS t_{})")
        return f"day BETWEEN ? AND ? AND {chosen}", [days.first, days.last, *values]

    def _ask(self, query: str, values: Sequence[Any], seconds: float | None = None) -> list[tuple[Any, ...]]:
        """Run a query, in this thread's own cursor. Raise Busy after ``seconds``, by default `LIMIT`."""
        cursor: duckdb.DuckDBPyConnection | None = getattr(self._local, "cursor", None)
        if cursor is None:
            cursor = self._local.cursor = self._database.cursor()
        limit = LIMIT if seconds is None else seconds
        try:
            with time_limit().of(limit, cursor.interrupt):
                rows: list[tuple[Any, ...]] = cursor.execute(query, list(values)).fetchall()
        except duckdb.InterruptException as error:
            hint = "Choose fewer days, or try again when fewer people ask."
            raise Busy(f"a query of the cells took longer than {limit:g} seconds", "pages", hint) from error
        return rows


def _chosen(choice: Choice, bound: str) -> tuple[str, list[Any]]:
    """Return the condition of the chosen values, and what is bound in it; ``bound`` is the SQL of one value."""
    conditions = ["true"]
    for name, own in choice.chosen.items():
        conditions.append(f"d_{name} IN ({', '.join([bound.format(name)] * len(own))})")
    return " AND ".join(conditions), [value for own in choice.chosen.values() for value in own]


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
