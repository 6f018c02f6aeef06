"""Compute columns from the others of a block of rows."""

from collections.abc import Callable, Collection, Mapping

import pyarrow as pa

from marts.errors import DropRejected
from marts.expressions import CLOSED, Expression, first_line
from marts.names import plain_name
from marts.rows.numbers import plain_numbers
from marts.rows.source_block import SourceBlock

_EXACT = "DECIMAL(38, 10)"
"""Type in which a result is rounded: a product of a price and a quantity has ten digits."""
_TEXT = "\1"
"""Prefix of the columns as text, beside those as numbers."""


def compute(
    expressions: Mapping[str, Expression],
    rows: pa.Table,
    numbers: Collection[str],
    block: SourceBlock,
    digits: Callable[[str], int | None],
) -> dict[str, pa.Array]:
    """Compute expressions on rows of text. Return, by target, decimals rounded half up to its digits, or texts.

    Raise DropRejected if the expressions do not fit the columns.

    ``numbers`` are the columns that are numbers, ``digits`` those after the point of a target; None for texts. A value
    that cannot be computed is null.
    """
    import duckdb

    names = {plain_name(name): name for name in rows.column_names}
    used = sorted({names[plain_name(column)] for item in expressions.values() for column in item.columns})
    for name in used:
        if twins := [other for other in rows.column_names if plain_name(other) == plain_name(name) and other != name]:
            both_names = ", ".join(map(repr, (name, *twins)))
            raise DropRejected(f"compute names one of several columns: {both_names}", "", "rename one in `columns`")
    numeric = {name: plain_numbers(rows[name].combine_chunks(), block) for name in used}
    both = pa.table({**numeric, **{f"{_TEXT}{name}": rows[name] for name in used}})
    columns = []
    for number, (target, item) in enumerate(expressions.items()):
        places = digits(target)
        if places is None:
            sql = item.sql(
                {key: f"{_TEXT}{name}" for key, name in names.items()}, {f"{_TEXT}{n}" for n in numbers}, "text"
            )
            columns.append(f"TRY(CAST({sql} AS VARCHAR)) AS c{number}")
        else:
            sql = item.sql(names, numbers, "number")
            columns.append(f"TRY(CAST(round(CAST({sql} AS {_EXACT}), {places}) AS DECIMAL(18, {places}))) AS c{number}")
    with duckdb.connect(":memory:", config=dict(CLOSED)) as database:
        database.register("rows", both)
        try:
            result = database.sql(f"SELECT {', '.join(columns)} FROM rows").to_arrow_table()
        except duckdb.Error as error:
            texts = ", ".join(repr(item.text) for item in expressions.values())
            raise DropRejected(f"{texts} cannot be computed: {first_line(error)}") from error
    return {target: result.column(place).combine_chunks() for place, target in enumerate(expressions)}
