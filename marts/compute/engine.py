"""Run the .sql files beside this module in DuckDB, over Arrow tables in memory."""

import hashlib
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib.resources import files
from string import Template
from typing import Any
from uuid import uuid4

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marts.errors import DataError, ServiceError, SqlFailed
from marts.pack import DECIMALS, Mart, MartColumn

MEMORY = "700MB"
"""Memory limit of one calculation. Beyond it DuckDB spills to a folder, see ``spill_to``."""
_OFFLINE = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
_SMALLER = (
    "make its tasks smaller: halve limits.rollup_lines if months are rolled up, or else limits.finish_rows, then run "
    "again; the live marts are untouched"
)
_CORRECT = "correct its .sql file; the live marts are untouched"
_of_thread = threading.local()
_spill_to = tempfile.gettempdir()


def spill_to(folder: str) -> None:
    """Set the folder that the calculations of this process spill to. DuckDB creates files in it only when it spills."""
    global _spill_to
    _spill_to = folder


def shared_ids(blocks: Iterable[pa.Table], owners: Sequence[str], limit: int) -> tuple[int, list[dict[str, Any]]]:
    """Return the number of live transaction ids with several owners or months, and the largest by money.

    ``blocks``: t_id, the columns ``owners``, month and cents of rows with an id. A row of the result has ``NAMEs``, the
    number of different values, of each of the owners.
    """
    with running({}, {}) as engine:
        columns = ", ".join(("t_id", *owners, "month"))
        query = f"SELECT {columns}, count(*) AS lines, sum(cents)::HUGEINT AS cents FROM block GROUP BY ALL"
        into = "CREATE TEMP TABLE seen AS"
        for block in blocks:
            engine.register("block", block)
            engine.execute(f"{into} {query}")
            engine.unregister("block")
            into = "INSERT INTO seen"
        if into.startswith("CREATE"):
            return 0, []
        counted = [f"count(DISTINCT {name})" for name in owners]
        counts = ", ".join(f"{count} AS {name}s" for count, name in zip(counted, owners, strict=True))
        texts = {"owners": ", ".join(owners), "counts": counts, "counted": ", ".join(counted)}
        engine.execute(Template(sql("ids")).substitute(texts))
        (count,) = _row(engine, "SELECT count(*) FROM shared_ids")
        return count, engine.sql(f"FROM shared_ids LIMIT {limit:d}").to_arrow_table().to_pylist()


def differing(before: pa.Table, now: pa.Table, key: str) -> np.ndarray:
    """Return the keys, in order, whose rows differ between two tables in content or order.

    The tables have the same columns.
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


def only_in(rows: pa.Table, others: pa.Table, key: Sequence[str]) -> pa.Table:
    """Return the rows of one table that the other does not have, in key order; empty values equal each other."""
    with running({"rows_of": rows, "others": others}, {}) as engine:
        query = f"SELECT * FROM rows_of EXCEPT SELECT * FROM others ORDER BY {', '.join(key)}"
        return engine.sql(query).to_arrow_table().cast(rows.schema)


def differing_days(before: pa.Table, now: pa.Table, day: str) -> pa.Array:
    """Return the days, in the column ``day``, whose rows differ between two tables, by a hash of 128 bits."""
    columns = ", ".join(f'"{name}"' for name in before.column_names)
    hashes = f"bit_xor(hash({columns})) AS x, sum(hash({columns}))::HUGEINT AS s, count(*) AS n"
    with running({"old": before, "new": now}, {}) as engine:
        sides = [f'SELECT "{day}" AS day, {hashes} FROM {table} GROUP BY "{day}"' for table in ("old", "new")]
        query = f"SELECT DISTINCT day FROM (({sides[0]} EXCEPT {sides[1]}) UNION ALL ({sides[1]} EXCEPT {sides[0]}))"
        return engine.sql(f"{query} ORDER BY day").to_arrow_table()["day"].combine_chunks()


def _rows_of(rows: pa.Table, counts: np.ndarray, places: np.ndarray) -> pa.Table:
    """Return the rows of some keys, by their places among all; ``counts`` has the rows of each."""
    kept = np.zeros(len(counts), bool)
    kept[places] = True
    return rows.filter(pa.array(np.repeat(kept, counts)))


def _unequal(rows: pa.Table, others: pa.Table) -> np.ndarray:
    """Return which rows of two tables of the same size are not equal; null equals null."""
    unequal = np.zeros(len(rows), bool)
    for item, other in zip(rows.columns, others.columns, strict=True):
        if pa.types.is_nested(item.type):  # Arrow compares none
            unequal |= _unequal_lists(item, other)
            continue
        both_null = pc.and_(item.is_null(), other.is_null())
        unequal |= ~np.asarray(pc.or_(pc.fill_null(pc.equal(item, other), False), both_null))
    return unequal


def _unequal_lists(item: pa.ChunkedArray, other: pa.ChunkedArray) -> np.ndarray:
    with running({"item": pa.table({"list": item}), "other": pa.table({"list": other})}, {}) as engine:
        query = "SELECT item.list IS DISTINCT FROM other.list AS differs FROM item POSITIONAL JOIN other"
        return np.asarray(engine.sql(query).to_arrow_table()["differs"])


def _counted(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct keys, in order, with the number of rows of each."""
    begins = np.ones(len(keys), bool)
    begins[1:] = keys[1:] != keys[:-1]
    starts = np.flatnonzero(begins)
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


def named_in(names: Iterable[str], *texts: str) -> list[str]:
    """Return the names of columns that SQL texts contain as words, in any case of letters."""
    return [name for name in names if any(name in _words(text) for text in texts)]


@lru_cache(maxsize=256)
def _words(text: str) -> frozenset[str]:
    """Return the words of a SQL text in lower case; each task asks for those of the same texts."""
    return frozenset(re.findall(r"\w+", text.lower()))


def mart_schema(mart: Mart) -> pa.Schema:
    """Return the Arrow schema of a mart's rows."""
    return pa.schema([pa.field(column.name, _arrow_type(column), column.nullable) for column in mart.columns])


def empty_mart(mart: Mart) -> pa.Table:
    """Return a mart without rows."""
    return mart_schema(mart).empty_table()


def _arrow_type(column: MartColumn) -> pa.DataType:
    match column.type:
        case "id" | "count":
            return pa.int64()
        case "text_id" | "text" | "month":
            return pa.string()
        case "money" | "rate" | "percent" | "decimal4" | "decimal6" | "version":
            return pa.decimal128(*DECIMALS[column.type])
        case "date":
            return pa.date32()
        case "time":
            return pa.timestamp("us")
        case "flag":
            return pa.bool_()


def ordered(rows: pa.Table, key: Sequence[str]) -> pa.Table:
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


@contextmanager
def running(tables: Mapping[str, pa.Table], variables: Mapping[str, Any]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an engine with one thread and a memory limit.

    Raise DataError for numbers that overflow, ServiceError if it needs more memory.
    """
    with _instance().cursor() as engine:
        for name, table in tables.items():
            engine.register(name, table)
        for name, value in variables.items():
            engine.execute(f"SET VARIABLE {name} = ?", [value])
        try:
            yield engine
        except (duckdb.ConversionException, duckdb.OutOfRangeException) as error:
            raise DataError(*_too_large(error)) from error
        except (duckdb.Error, SqlFailed) as error:
            vars(_of_thread).clear()  # what is wrong with it, or its folder, must not meet the next calculation
            if isinstance(error, duckdb.OutOfMemoryException):
                what = f"a calculation needs more memory than its limit of {MEMORY}: {_words_of(error)}"
                raise ServiceError(what, "", _SMALLER) from error
            raise


def _too_large(error: duckdb.Error, where: str = "") -> tuple[str, str, str]:
    """Return the words for a number that overflows."""
    hint = "look for lines with absurd prices or quantities, and correct or withdraw their drop"
    return f"an amount does not fit DECIMAL(18,2): {_words_of(error)}", where, hint


def selected(engine: duckdb.DuckDBPyConnection, text: str, table: str) -> pa.Table:
    """Return the rows that the SQL of a table of a pack selects. Raise SqlFailed."""
    with _of_pack(table):
        result = engine.sql(text)
        if result is None:
            raise SqlFailed("the last statement of its SQL selects no rows", f"tables.{table}", _CORRECT)
        names = result.columns
        if repeated := next((name for name in names if names.count(name) > 1), ""):
            raise SqlFailed(f"its SQL selects the column {repeated!r} twice", f"tables.{table}", _CORRECT)
        return result.to_arrow_table()


def prepare(engine: duckdb.DuckDBPyConnection, text: str, table: str) -> None:
    """Execute SQL that a table of a pack needs before its own. Raise SqlFailed."""
    with _of_pack(table):
        engine.execute(text)


@contextmanager
def _of_pack(table: str) -> Iterator[None]:
    """Raise SqlFailed for SQL that does not fit or fails on its rows; failures of the machine pass."""
    try:
        yield
    except (duckdb.OperationalError, duckdb.InternalError):
        raise
    except duckdb.Error as error:
        of_amount = isinstance(error, duckdb.ConversionException) and "DECIMAL(18," in str(error)
        if of_amount or isinstance(error, duckdb.OutOfRangeException):
            raise SqlFailed(*_too_large(error, f"tables.{table}")) from error
        raise SqlFailed(f"its SQL fails: {_words_of(error)}", f"tables.{table}", _CORRECT) from error


def _words_of(error: duckdb.Error) -> str:
    """Return the message of an error on one line, with the line of SQL that it points to."""
    message, _, line = str(error).partition("\nLINE ")
    number, _, text = line.partition("\n")[0].partition(": ")
    words = " ".join(message.split())
    return f"{words} (line {number}: {text.strip()})" if line else words


def _instance() -> duckdb.DuckDBPyConnection:
    """Return the engine instance of this thread: starting one takes longer than a small calculation."""
    if getattr(_of_thread, "spill_to", None) != _spill_to:
        spill = f"{_spill_to}/marts-spill-{uuid4().hex}"  # the engine creates it when it spills, and removes it
        config: dict[str, Any] = {"threads": 1, "memory_limit": MEMORY, "temp_directory": spill, **_OFFLINE}
        instance = duckdb.connect(":memory:", config=config)
        instance.execute(sql("money"))
        instance.execute(sql("decimals"))
        # The SQL of a pack computes; it reads no files and loads nothing.
        instance.execute("SET enable_external_access = false; SET lock_configuration = true")
        _of_thread.instance, _of_thread.spill_to = instance, _spill_to
    current: duckdb.DuckDBPyConnection = _of_thread.instance
    return current
