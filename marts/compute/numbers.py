"""Business numbers as SQL reads them: variables, and tables in memory."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from marts.compute.engine import named_in
from marts.pack import DIGITS, Pack
from marts.pack_numbers import NumberColumn, NumberTable
from marts.policy import Policy, numbers_of

_VARIABLE = re.compile(r"getvariable\(\s*'([^']*)'\s*\)", re.IGNORECASE)
_ARROW = {"text": pa.string(), "count": pa.int64(), "money": pa.int64(), "flag": pa.bool_(), "date": pa.date32()}


@dataclass(frozen=True)
class Numbers:
    """The business numbers of a pack."""

    variables: Mapping[str, int | str | bool]
    tables: Mapping[str, pa.Table]

    @classmethod
    def of(cls, pack: Pack, policy: Policy) -> "Numbers":
        """Return the numbers of a pack as a policy sets them: decimals as whole numbers of their last digit."""
        values = numbers_of(pack, policy)
        variables = {
            number.variable: int(values[number.name].scaleb(number.digits)) if number.digits else values[number.name]
            for number in pack.numbers
        }
        return cls(variables, {table.name: _table(table, values[table.name]) for table in pack.number_tables})

    def used_by(self, *texts: str) -> "Numbers":
        """Return those that SQL texts name: only they change what the SQL computes."""
        variables = {name: self.variables[name] for name in named_in(self.variables, *texts)}
        return Numbers(variables, {name: self.tables[name] for name in named_in(self.tables, *texts)})

    @property
    def written(self) -> str:
        """Return them as one text: equal numbers have equal texts."""
        return json.dumps(
            [dict(self.variables), {name: rows.to_pylist() for name, rows in self.tables.items()}], default=str
        )


def variables_in(*texts: str) -> list[str]:
    """Return the variables that SQL texts read. DuckDB takes one that nobody sets for NULL, without a word."""
    return sorted({name for text in texts for name in _VARIABLE.findall(text)})


NO_NUMBERS = Numbers({}, {})


def _table(table: NumberTable, rows: Iterable[tuple[Any, ...]]) -> pa.Table:
    """Return the rows of a table of numbers, with their ``place``: the first is 0."""
    columns = list(zip(*rows, strict=True)) or [()] * len(table.columns)
    count = len(columns[0])
    values = {column.stored_as: _column(column, items) for column, items in zip(table.columns, columns, strict=True)}
    return pa.table({"place": pa.array(range(count), pa.int64()), **values})


def _column(column: NumberColumn, items: Iterable[Any]) -> pa.Array:
    if column.type == "money":
        items = (None if item is None else int(item.scaleb(DIGITS["money"])) for item in items)
    return pa.array(list(items), _ARROW[column.type])
