"""Run the .sql files beside this module in DuckDB, over Arrow tables in memory."""

import hashlib
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any
from uuid import uuid4

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marts.compute.identity import Identity
from marts.errors import DataError
from marts.policy import Policy
from marts.schema import CUSTOMERS_MART, SALES_TEAM_MART, Mart, MartColumn

MEMORY = "700MB"
"""Memory limit of one calculation. Beyond it DuckDB spills to a folder, see ``spill_to``."""
_OFFLINE = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
_of_thread = threading.local()
_spill_to = tempfile.gettempdir()


@dataclass(frozen=True)
class Facts:
    """Facts of one month, per mart."""

    customers: pa.Table
    """One row per customer: lines, cents, purchases, largest purchase, first and last date, dates."""
    sales_team: pa.Table
    """One row per store and sales person."""
    drops: pa.Table
    """One row per delivery and day: lines, redelivered lines, lines and cents counted up to as_of."""
    shared: pa.Table
    """Equal lines without an id that two deliveries share."""


def spill_to(folder: str) -> None:
    """Set the folder that the calculations of this process spill to. DuckDB creates files in it only when it spills."""
    global _spill_to
    _spill_to = folder


CROSSING = pa.schema(
    [
        ("customer_id", pa.int64()),
        ("transaction_id", pa.string()),
        ("store_key", pa.int64()),
        ("day_key", pa.date32()),
        ("more_key", pa.string()),
        ("month", pa.string()),
        ("bought_cents", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Beyond:
    """Marks of a month's lines whose transactions also have lines in other months."""

    marks: pa.Table
    """position, mark: replace those of identity.sql."""
    crossing: pa.Table
    """Purchases with lines in several months, from crossing.sql."""


def roll_up(
    lines: pa.Table, suspects: pa.Table, last_day: date, identity: Identity, beyond: Beyond | None = None
) -> Facts:
    """Compute a month's facts.

    ``lines``: clean lines with ``delivery``, ``position`` and names of their transactions; ``suspects``: those of them
    that may have been delivered twice, with all columns. ``beyond`` is what is known of transactions that go beyond the
    month.
    """
    variables = {"last_day": last_day, "redelivered": identity.redelivered, "equal_lines": identity.equal_lines}
    crossing = beyond.crossing if beyond else CROSSING.empty_table()
    with _engine({"lines": lines, "suspects": suspects, "crossing": crossing}, variables) as engine:
        engine.execute(sql("identity"))
        if beyond:
            engine.register("settled_before", beyond.marks)
            engine.execute("CREATE OR REPLACE TEMP TABLE marks AS SELECT position, mark FROM settled_before")
        engine.execute(sql("rollup"))
        return Facts(
            *(_table(engine, name) for name in ("customer_facts", "sales_facts", "drop_facts", "shared_lines"))
        )


def shared_ids(blocks: Iterable[pa.Table], limit: int) -> tuple[int, pa.Table]:
    """Return the number of live transaction ids with several customers, stores or months, and the largest by money.

    ``blocks``: transaction_id, customer_id, store_id, month, total_cents of lines.
    """
    with _engine({}, {}) as engine:
        engine.execute(
            "CREATE TEMP TABLE seen (transaction_id VARCHAR, customer_id BIGINT, store_id BIGINT, month VARCHAR, "
            "lines BIGINT, total_cents HUGEINT)"
        )
        for block in blocks:
            engine.register("block", block)
            engine.execute(
                "INSERT INTO seen SELECT transaction_id, customer_id, store_id, month, count(*), sum(total_cents) "
                "FROM block WHERE transaction_id IS NOT NULL GROUP BY ALL"
            )
            engine.unregister("block")
        engine.execute(sql("ids"))
        (count,) = _row(engine, "SELECT count(*) FROM shared_ids")
        return count, engine.sql(f"FROM shared_ids LIMIT {limit:d}").to_arrow_table()


def cross_months(lines: pa.Table, marks: pa.Table, last_day: date) -> pa.Table:
    """Return the purchases with lines in several months. ``lines`` include the names of their transactions."""
    with _engine({"lines": lines, "marks": marks}, {"last_day": last_day}) as engine:
        engine.execute(sql("crossing"))
        return _table(engine, "crossing").cast(CROSSING)


def marked(suspects: pa.Table, identity: Identity) -> pa.Table:
    """Return position, delivery, basket and mark of lines that may have been delivered twice."""
    variables = {"redelivered": identity.redelivered, "equal_lines": identity.equal_lines}
    with _engine({"suspects": suspects}, variables) as engine:
        engine.execute(sql("identity"))
        query = "SELECT position, delivery, basket, mark FROM candidates LEFT JOIN marks USING (position) ORDER BY ALL"
        return engine.sql(query).to_arrow_table()


def customers_mart(facts: pa.Table, customers: pa.Table, policy: Policy, as_of: date) -> tuple[pa.Table, int]:
    """Compute the customers mart of a key range, and count the lines with an unknown customer."""
    segments = pa.table(
        {
            "place": pa.array(range(len(policy.segments)), pa.int64()),
            "name": [rule.name for rule in policy.segments],
            "min_purchase_frequency": pa.array([rule.min_purchase_frequency for rule in policy.segments], pa.int64()),
            "min_monetary_cents": pa.array([_cents(rule.min_monetary_value) for rule in policy.segments], pa.int64()),
            "inactive": pa.array([rule.inactive for rule in policy.segments], pa.bool_()),
        }
    )
    tables = {"facts": _sorted(facts, ["customer_id", "month"]), "customers": customers, "segments": segments}
    variables = {"as_of": as_of, "inactive_after_days": policy.inactive_after_days}
    with _engine(tables, variables) as engine:
        engine.execute(sql("customers"))
        unknown = _row(engine, "SELECT lines FROM customers_unknown")
        return _mart(engine, CUSTOMERS_MART), unknown[0]


def sales_team_mart(
    facts: pa.Table, sales_team: pa.Table, stores: pa.Table, policy: Policy
) -> tuple[pa.Table, int, int]:
    """Compute the sales team mart, and count the lines with an unknown person and with an unknown store."""
    tables = {"facts": facts, "sales_team": sales_team, "stores": stores}
    variables = {
        "incentive_millionths": int(policy.incentive_rate * 1_000_000),
        "split_ties": policy.incentive_ties == "split",
    }
    with _engine(tables, variables) as engine:
        engine.execute(sql("sales_team"))
        person, store = _row(engine, "SELECT person_lines, store_lines FROM sales_team_unknown")
        return _mart(engine, SALES_TEAM_MART), person, store


def differing(before: pa.Table, now: pa.Table, key: str) -> np.ndarray:
    """Return the keys, in order, whose rows differ between two tables in content or order.

    The tables have the same columns; keys are whole numbers.
    """
    sides = [_by_key(table, key) for table in (before, now)]
    (ids, counts), (ids_now, counts_now) = [_counted(np.asarray(side[key])) for side in sides]
    _, places, places_now = np.intersect1d(ids, ids_now, assume_unique=True, return_indices=True)
    new = np.ones(len(ids_now), bool)
    new[places_now] = False
    # Only keys with as many rows on both sides can be alike: these stand side by side.
    as_many = counts[places] == counts_now[places_now]
    differ = np.ones(len(ids), bool)
    if as_many.any():
        item = _rows_of(sides[0], counts, places[as_many])
        other = _rows_of(sides[1], counts_now, places_now[as_many])
        sizes = counts[places[as_many]]
        differ[places[as_many]] = np.logical_or.reduceat(_unequal(item, other), np.cumsum(sizes) - sizes)
    return np.sort(np.concatenate([ids[differ], ids_now[new]]))


def _rows_of(rows: pa.Table, counts: np.ndarray, places: np.ndarray) -> pa.Table:
    """Return the rows of some keys, by their places among all; ``counts`` has the rows of each."""
    kept = np.zeros(len(counts), bool)
    kept[places] = True
    return rows.filter(pa.array(np.repeat(kept, counts)))


def _unequal(rows: pa.Table, others: pa.Table) -> np.ndarray:
    """Return which rows of two tables of the same size are not equal; null equals null."""
    unequal = np.zeros(len(rows), bool)
    for item, other in zip(rows.columns, others.columns, strict=True):
        both_null = pc.and_(item.is_null(), other.is_null())
        unequal |= ~np.asarray(pc.or_(pc.fill_null(pc.equal(item, other), False), both_null))
    return unequal


def _counted(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct keys, in order, with the number of rows of each."""
    starts = np.flatnonzero(np.diff(keys, prepend=keys[:1] - 1))
    return keys[starts], np.diff(starts, append=len(keys))


def _by_key(rows: pa.Table, key: str) -> pa.Table:
    """Return rows sorted by a key of one column; most often they already are."""
    keys = np.asarray(rows[key])
    return rows if (keys[1:] >= keys[:-1]).all() else rows.take(pa.array(np.argsort(keys, kind="stable")))


@cache
def sql(name: str) -> str:
    """Read the SQL of a calculation."""
    return files("marts.compute").joinpath(f"{name}.sql").read_text(encoding="utf-8")


@cache
def digest(*names: str) -> str:
    """Return a digest of the SQL of some calculations. It is part of the names of facts: new SQL, new names."""
    return hashlib.sha256("\0".join(sql(name) for name in names).encode()).hexdigest()[:16]


def mart_schema(mart: Mart) -> pa.Schema:
    """Return the Arrow schema of a mart's rows."""
    return pa.schema([pa.field(column.name, _arrow_type(column), column.nullable) for column in mart.columns])


def _arrow_type(column: MartColumn) -> pa.DataType:
    match column.type:
        case "id" | "count":
            return pa.int64()
        case "text" | "month":
            return pa.string()
        case "money":
            return pa.decimal128(18, 2)
        case "rate":
            return pa.decimal128(14, 2)
        case "flag":
            return pa.bool_()


def _mart(engine: duckdb.DuckDBPyConnection, mart: Mart) -> pa.Table:
    columns = ", ".join(column.name for column in mart.columns)
    rows = engine.sql(f"SELECT {columns} FROM {mart.name}_mart").to_arrow_table().cast(mart_schema(mart))
    return _sorted(rows, mart.key)


def _sorted(rows: pa.Table, key: Sequence[str]) -> pa.Table:
    """Return rows sorted by a unique key of two or more columns; most often they already are.

    Sorting wide rows costs the engine more than computing them. It keeps the order of its input, without a guarantee.
    """
    columns = [rows[name].combine_chunks() for name in key]
    equal, rising = pa.array(np.ones(max(len(rows) - 1, 0), bool)), pa.array(np.zeros(max(len(rows) - 1, 0), bool))
    for column in columns:
        before, after = column[:-1], column[1:]
        rising = pc.or_(rising, pc.and_(equal, pc.less(before, after)))
        equal = pc.and_(equal, pc.equal(before, after))
    if pc.all(rising).as_py() in (True, None):
        return rows
    return rows.take(pc.sort_indices(rows.select(list(key)), [(name, "ascending") for name in key]))


def _table(engine: duckdb.DuckDBPyConnection, name: str) -> pa.Table:
    return engine.sql(f"FROM {name}").to_arrow_table()


def _row(engine: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    (row,) = engine.execute(query).fetchall()
    return tuple(int(value) for value in row)


def _cents(amount: Decimal | None) -> int | None:
    return None if amount is None else int(amount * 100)


@contextmanager
def _engine(tables: Mapping[str, pa.Table], variables: Mapping[str, Any]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an engine with one thread and a memory limit. Raise DataError for numbers that overflow."""
    with _instance().cursor() as engine:
        for name, table in tables.items():
            engine.register(name, table)
        for name, value in variables.items():
            engine.execute(f"SET VARIABLE {name} = ?", [value])
        try:
            yield engine
        except (duckdb.ConversionException, duckdb.OutOfRangeException) as error:
            hint = "look for lines with absurd prices or quantities, and correct or withdraw their drop"
            raise DataError(f"an amount does not fit DECIMAL(18,2): {error}", hint=hint) from error
        except duckdb.Error:
            vars(_of_thread).clear()  # what is wrong with it, or its folder, must not meet the next calculation
            raise


def _instance() -> duckdb.DuckDBPyConnection:
    """Return the engine instance of this thread: starting one takes longer than a small calculation."""
    if getattr(_of_thread, "spill_to", None) != _spill_to:
        spill = f"{_spill_to}/marts-spill-{uuid4().hex}"  # the engine creates it when it spills, and removes it
        config: dict[str, Any] = {"threads": 1, "memory_limit": MEMORY, "temp_directory": spill, **_OFFLINE}
        instance = duckdb.connect(":memory:", config=config)
        instance.execute(sql("money"))
        _of_thread.instance, _of_thread.spill_to = instance, _spill_to
    current: duckdb.DuckDBPyConnection = _of_thread.instance
    return current
