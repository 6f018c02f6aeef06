"""Check an engine's output against that of another engine, to the last cent."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from bench.packs import marts_of
from marts.pack import Mart, MartColumn

_TYPES = {
    "id": "BIGINT",
    "count": "BIGINT",
    "money": "DECIMAL(18,2)",
    "rate": "DECIMAL(18,2)",
    "percent": "DECIMAL(18,2)",
    "version": "DECIMAL(38,0)",
    "flag": "BOOLEAN",
    "date": "DATE",
    "time": "TIMESTAMP",
}


@dataclass(frozen=True)
class Written:
    """Figures over an engine's output; equal outputs have equal figures."""

    clean: int
    cents: int
    """Cents of all clean lines, including duplicates."""
    quarantined: int
    rows: tuple[int, ...]
    sums: tuple[str, ...]
    """For each mart, the sum of the hashes of its rows, in any order."""

    def differences(self, other: "Written") -> list[str]:
        mine, theirs = vars(self), vars(other)
        return [f"{name}: {mine[name]} and {theirs[name]}" for name in mine if mine[name] != theirs[name]]


def written(out: Path, pack: str = "retail", left_out: Collection[str] = ()) -> Written:
    """Compute the figures of an engine's output, but for some marts. Only retail's engines write clean lines."""
    with duckdb.connect(config={"autoinstall_known_extensions": False}) as engine:
        clean, cents = 0, 0
        if pack == "retail":
            clean, cents = _row(engine, f"SELECT count(*), {_cents(engine, out)} FROM '{out}/lines/**/*.parquet'")
        quarantined = _row(engine, f"SELECT count(*) FROM '{out}/quarantine/**/*.parquet'")[0]
        marts = [_row(engine, _sum(mart, out)) for name, mart in marts_of(pack).items() if name not in left_out]
    return Written(clean, cents, quarantined, tuple(row[0] for row in marts), tuple(str(row[1]) for row in marts))


def _cents(engine: duckdb.DuckDBPyConnection, out: Path) -> str:
    names = [row[0] for row in engine.execute(f"DESCRIBE FROM '{out}/lines/**/*.parquet'").fetchall()]
    return "sum(total_cents)::BIGINT" if "total_cents" in names else "(sum(total_cost) * 100)::BIGINT"


def _sum(mart: Mart, out: Path) -> str:
    columns = ", ".join(_same(column) for column in mart.columns)
    return f"SELECT count(*), sum(hash({columns})::HUGEINT) FROM '{out}/{mart.name}/*.parquet'"


def _same(column: MartColumn) -> str:
    """Return the SQL that casts a column to one type for all engines; floats are an error, as they are not exact."""
    type_ = _TYPES.get(column.type, "VARCHAR")
    inexact = f"error('{column.name} is a float')" if type_.startswith("DECIMAL") else "NULL"
    return f"CASE WHEN typeof({column.name}) IN ('DOUBLE', 'FLOAT') THEN {inexact} ELSE {column.name}::{type_} END"


def first_difference(mart: Mart, one: Path, other: Path) -> Sequence[tuple[object, ...]]:
    """Return up to three rows that the first engine wrote and the other did not."""
    columns = ", ".join(f"{_same(column)} AS {column.name}" for column in mart.columns)
    sides = [f"SELECT {columns} FROM '{out}/{mart.name}/*.parquet'" for out in (one, other)]
    with duckdb.connect() as engine:
        return engine.execute(f"({sides[0]} EXCEPT {sides[1]}) LIMIT 3").fetchall()


def _row(engine: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    row = engine.execute(query).fetchone()
    assert row
    return tuple(int(value or 0) for value in row)
