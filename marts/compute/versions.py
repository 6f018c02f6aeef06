"""Fold the snapshots of a dimension into the versions of its entities: what held on each day.

A full table replaces the state before it, a log of changes changes the rows that it names. An entity whose row is in
quarantine keeps its state. The versions depend on the set of snapshots only, not on when each arrived.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marts.compute.engine import running
from marts.errors import DuplicateKeys
from marts.pack import Kind, PersonId
from marts.rows.cast import DELETED, clean_schema

FIRST, LAST = date(1900, 1, 1), date(9999, 12, 31)
"""First day of an entity's first version, and the end of one that has not ended."""
VERSION_COLUMNS = pa.schema(
    [
        ("version_key", pa.decimal128(38, 0)),
        ("valid_from", pa.date32()),
        ("valid_to", pa.date32()),
        ("is_current", pa.bool_()),
        ("end_reason", pa.string()),
        ("covers_from", pa.date32()),
        ("covers_to", pa.date32()),
        ("last_seen", pa.date32()),
    ]
)
"""Columns of a history, after those of the dimension.

version_key: key * 10^8 + valid_from as yyyymmdd, or key@yyyymmdd of a text · valid_from, valid_to: first day, and first
day after · end_reason: CHANGED, DELETED or null · covers_from, covers_to: the same without gaps, so that each day is in
one version · last_seen: day of the last snapshot in which it held

All are null in the one row of an entity that has reports, but exists at the end of no day.
"""
REPORTS = "reports"
"""Column of the values that an entity had in the last snapshot of each month, and in its first: a list with the day."""
INFERRED = "is_inferred"
"""Column of whether facts name an entity that no snapshot has."""
OF_MONTHS = ("version_key", "covers_from", "covers_to")
"""Those that tables of months read: the others change with later snapshots."""
UNKNOWN = "UNKNOWN"
"""Word of an inferred entity."""


@dataclass(frozen=True)
class Snapshot:
    """Rows of one drop of a dimension."""

    rows: pa.Table
    """Clean rows, with `DELETED` if it is a log."""
    is_log: bool = False
    """Whether it names changed rows only."""
    kept: pa.Array | None = None
    """Keys of its rows in quarantine; None if one of these has no readable key: then nobody is missing in it."""


def history_schema(kind: Kind) -> pa.Schema:
    """Return the schema of the versions of a dimension."""
    own = VERSION_COLUMNS.set(0, pa.field("version_key", pa.string())) if kind.has_text_key else VERSION_COLUMNS
    fields = [*clean_schema(kind), *own]
    return pa.schema([*fields, pa.field(REPORTS, pa.list_(_report(kind)))] if kind.reports else fields)


def _report(kind: Kind) -> pa.DataType:
    """Return the type of a report: its day, and the values of some columns."""
    clean = clean_schema(kind)
    return pa.struct([("day", pa.date32()), *((name, clean.field(name).type) for name in kind.reports)])


def fold(
    kind: Kind, days: Iterable[tuple[date, Sequence[Snapshot]]], before: pa.Table | None = None, last: date = FIRST
) -> pa.Table:
    """Return the versions of a dimension, by key and day, from its snapshots in the order of days and delivery.

    ``before`` are the versions of the snapshots up to the day ``last``, which this continues. Raise DuplicateKeys for a
    full table with two rows of a key.
    """
    before = history_schema(kind).empty_table() if before is None else before
    with running({"before": before}, {}) as engine:
        names = ", ".join(column.clean_name for column in kind.columns)
        engine.execute(
            f"CREATE TEMP TABLE state AS SELECT {names}, valid_from, last_seen FROM before "
            "WHERE end_reason IS NULL AND valid_from IS NOT NULL;"
            f"CREATE TEMP TABLE closed AS SELECT {names}, valid_from, last_seen, valid_to, end_reason FROM before "
            "WHERE end_reason IS NOT NULL"
        )
        reports = _Reports(engine, kind, last) if kind.reports else None
        for day, snapshots in days:
            engine.execute(f"CREATE OR REPLACE TEMP TABLE now AS SELECT {names} FROM state")
            for snapshot in snapshots:
                _apply(engine, kind, snapshot)
                if reports:
                    reports.read(snapshot)
            _close(engine, kind, day, last)
            if reports:
                reports.end(day)
            last = day
        return _history(engine, kind)


class _Reports:
    """The reports of a dimension: tables ``reports`` of past months, ``latest`` of the current one, and ``first``."""

    def __init__(self, engine: duckdb.DuckDBPyConnection, kind: Kind, last: date) -> None:
        """Continue those of the table ``before``, of snapshots up to the day ``last``."""
        self._engine, self._key, self._month = engine, kind.key or "", last.replace(day=1)
        self._names = ", ".join((self._key, *kind.reports))
        engine.execute(
            f"CREATE TEMP TABLE every AS SELECT {self._key}, unnest({REPORTS}, recursive := TRUE) FROM before"
        )
        of_month = (
            f"day >= DATE '{self._month}' QUALIFY row_number() OVER (PARTITION BY {self._key} ORDER BY day DESC) = 1"
        )
        engine.execute(
            f"CREATE TEMP TABLE latest AS FROM every WHERE {of_month};"
            f"CREATE TEMP TABLE reports AS FROM every ANTI JOIN latest USING ({self._key}, day);"
            f"CREATE TEMP TABLE first AS FROM every "
            f"QUALIFY row_number() OVER (PARTITION BY {self._key} ORDER BY day) = 1"
        )
        self._clear()

    def _clear(self) -> None:
        self._engine.execute("CREATE OR REPLACE TEMP TABLE today AS FROM latest LIMIT 0")

    def read(self, snapshot: Snapshot) -> None:
        """Read the snapshot that was applied last: of a day, the last row of an entity counts, unless it deletes it."""
        last = f"QUALIFY row_number() OVER (PARTITION BY {self._key} ORDER BY t_place DESC) = 1"
        rows = f"(FROM given WHERE NOT {DELETED} {last})" if snapshot.is_log else "given"
        self._engine.execute(
            f"CREATE OR REPLACE TEMP TABLE today AS FROM today ANTI JOIN {rows} g USING ({self._key}) "
            f"UNION ALL BY NAME SELECT {self._names} FROM {rows}"
        )

    def end(self, day: date) -> None:
        """Add the reports of a day, also of an entity that a later snapshot of the day deletes."""
        if self._month != day.replace(day=1):
            self._month = day.replace(day=1)
            self._engine.execute("INSERT INTO reports BY NAME FROM latest; TRUNCATE latest")
        self._engine.execute(
            f"CREATE OR REPLACE TEMP TABLE today AS SELECT * REPLACE (DATE '{day}' AS day) FROM today;"
            f"CREATE OR REPLACE TEMP TABLE latest AS FROM latest ANTI JOIN today USING ({self._key}) "
            f"UNION ALL BY NAME FROM today;"
            f"INSERT INTO first BY NAME FROM today ANTI JOIN first USING ({self._key})"
        )
        self._clear()


def _apply(engine: duckdb.DuckDBPyConnection, kind: Kind, snapshot: Snapshot) -> None:
    """Apply a snapshot to the table ``now``."""
    key, rows = kind.key or "", snapshot.rows
    names = ", ".join(column.clean_name for column in kind.columns)
    engine.register("given", rows.append_column("t_place", pa.array(np.arange(rows.num_rows))))
    if snapshot.is_log:
        engine.execute(
            "CREATE OR REPLACE TEMP TABLE changes AS SELECT * FROM given "
            f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY t_place DESC) = 1;"
            f"CREATE OR REPLACE TEMP TABLE now AS SELECT {names} FROM now ANTI JOIN changes USING ({key}) "
            f"UNION ALL SELECT {names} FROM changes WHERE NOT {DELETED}"
        )
        return
    query = f"SELECT {key} FROM given GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL"
    if repeated := [row[0] for row in engine.execute(query).fetchall()]:
        raise DuplicateKeys.of(kind.name, key, repeated)
    engine.register("bad", pa.table({key: rows[key].slice(0, 0) if snapshot.kept is None else snapshot.kept}))
    bad = "" if snapshot.kept is None else f"SEMI JOIN bad USING ({key}) "
    engine.execute(
        f"CREATE OR REPLACE TEMP TABLE now AS SELECT {names} FROM now {bad}ANTI JOIN given USING ({key}) "
        f"UNION ALL SELECT {names} FROM given"
    )


def _close(engine: duckdb.DuckDBPyConnection, kind: Kind, day: date, last: date) -> None:
    """End the versions that ``now`` changes, and begin new ones; ``last`` is the day of the snapshot before."""
    key = kind.key or ""
    clean = [column.clean_name for column in kind.columns]
    followed = [column.clean_name for column in kind.columns if column.name not in (*kind.carried, key)]
    same = " AND ".join([f"s.{key} = n.{key}", *(f"s.{name} IS NOT DISTINCT FROM n.{name}" for name in followed)])
    since = f"n.{kind.updated}" if kind.updated else "NULL::DATE"
    engine.execute("SET VARIABLE day = ?", [day])
    engine.execute("SET VARIABLE last_day = ?", [last])
    engine.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE step AS
        SELECT coalesce(s.{key}, n.{key}) AS {key}, n.{key} IS NOT NULL AS lives,
            coalesce({same}, FALSE) AS same, s.valid_from,
            CASE WHEN s.{key} IS NOT NULL AND {since} > getvariable('last_day') AND {since} <= getvariable('day')
                THEN {since} ELSE getvariable('day') END AS start
        FROM state s FULL JOIN now n ON s.{key} = n.{key};
        INSERT INTO closed
        SELECT {", ".join(f"s.{name}" for name in clean)}, s.valid_from, s.last_seen, step.start,
            CASE WHEN step.lives THEN 'CHANGED' ELSE 'DELETED' END
        FROM state s JOIN step USING ({key}) WHERE NOT step.same;
        CREATE OR REPLACE TEMP TABLE state AS
        SELECT {", ".join(f"n.{name}" for name in clean)},
            CASE WHEN step.same THEN step.valid_from ELSE step.start END AS valid_from,
            getvariable('day')::DATE AS last_seen
        FROM now n JOIN step USING ({key})
        """
    )


def _history(engine: duckdb.DuckDBPyConnection, kind: Kind) -> pa.Table:
    """Return all versions, with the columns of `history_schema`."""
    key = kind.key or ""
    day = "strftime(valid_from, '%Y%m%d')"
    number = f"({key}::HUGEINT * 100000000 + {day}::HUGEINT)::DECIMAL(38, 0)"
    version_key = f"{key} || '@' || {day}" if kind.has_text_key else number
    rows = engine.sql(
        f"""
        WITH versions AS (
            FROM closed UNION ALL BY NAME SELECT *, ?::DATE AS valid_to, NULL AS end_reason FROM state
        ),
        covered AS (
            SELECT *, {version_key} AS version_key, end_reason IS NULL AS is_current,
                CASE WHEN row_number() OVER w = 1 THEN ?::DATE ELSE valid_from END AS covers_from,
                coalesce(lead(valid_from) OVER w, ?::DATE) AS covers_to
            FROM versions WINDOW w AS (PARTITION BY {key} ORDER BY valid_from)
        ){_reported(kind)}
        FROM covered {f"FULL JOIN reported USING ({key}, valid_from)" if kind.reports else ""}
        ORDER BY {key}, valid_from
        """,
        params=[LAST, FIRST, LAST],
    ).to_arrow_table()
    schema = history_schema(kind)
    return rows.select(schema.names).cast(schema)


def _reported(kind: Kind) -> str:
    """Return the SQL of the reports of each version, and of entities without one, as another table of a WITH."""
    if not kind.reports:
        return ""
    fields = ", ".join(f"'{name}': r.{name}" for name in ("day", *kind.reports))
    return f""",
        every AS (FROM reports UNION BY NAME FROM latest UNION BY NAME FROM first),
        reported AS (
            SELECT r.{kind.key}, v.valid_from, list({{{fields}}} ORDER BY r.day) AS {REPORTS}
            FROM every r
            LEFT JOIN covered v ON r.{kind.key} = v.{kind.key} AND r.day >= v.covers_from AND r.day < v.covers_to
            GROUP BY ALL
        )"""


def of_days(versions: pa.Table, first: date, after: date) -> pa.Table:
    """Return the versions that cover some days, with covers_from and covers_to cut to these.

    ``first`` is the first day, ``after`` the one after the last. A later snapshot that changes nothing on these days
    does not change the rows.
    """
    own = pc.and_(pc.less(versions["covers_from"], after), pc.greater(versions["covers_to"], first))
    rows = versions.filter(own)
    for name, bound, cut in (
        ("covers_from", first, pc.max_element_wise),
        ("covers_to", after, pc.min_element_wise),
    ):
        rows = rows.set_column(rows.schema.get_field_index(name), name, cut(rows[name], pa.scalar(bound, pa.date32())))
    return rows


def month_after(month: date, count: int = 1) -> date:
    """Return the first day of a month some months after another, or before it."""
    number = month.year * 12 + month.month - 1 + count
    return date(number // 12, number % 12 + 1, 1)


def with_members(kind: Kind, versions: pa.Table, named: pa.Array, members: bool = True) -> pa.Table:
    """Add an inferred row for each key that facts name and no snapshot has, and the members that are no entity.

    ``versions`` may have some of the columns of `history_schema`; ``named`` are the keys. An entity that exists at the
    end of no day is inferred, with its reports if they are read. The result is in the order of the keys, with
    `INFERRED`.
    """
    key, reported = kind.key or "", []
    if kind.reports:
        never = versions["version_key"].is_null()
        versions, others = versions.filter(pc.invert(never)), versions.filter(never)
        if REPORTS in versions.column_names:
            rows = _standing(kind, versions.schema, others[key].combine_chunks(), [UNKNOWN] * len(others), True)
            reported.append(rows.set_column(rows.column_names.index(REPORTS), REPORTS, others[REPORTS]))
    standing = pa.array([_typed(kind, item) for item, _ in kind.members], versions.schema.field(key).type)
    known = pa.concat_arrays([standing, *(rows[key].combine_chunks() for rows in (versions, *reported))])
    missing = pc.unique(named).drop_null()
    missing = missing.filter(pc.invert(pc.is_in(missing, known)))
    inferred = _standing(kind, versions.schema, missing, [UNKNOWN] * len(missing), True)
    tables = [versions.append_column(INFERRED, pa.array(np.zeros(len(versions), bool))), *reported, inferred]
    if members and kind.members:
        tables.append(_standing(kind, versions.schema, standing, [word for _, word in kind.members], False))
    joined = pa.concat_tables(tables)
    return joined.take(pc.array_sort_indices(joined[key])) if len(joined) > len(versions) else joined


def _typed(kind: Kind, member: int) -> PersonId:
    return str(member) if kind.has_text_key else member


def _standing(kind: Kind, schema: pa.Schema, keys: pa.Array, words: Sequence[str], inferred: bool) -> pa.Table:
    """Return rows that are valid on every day, with a word in some columns and nothing in the others."""
    count = len(keys)
    named = keys.to_pylist()
    if inferred:
        named = [f"{key}@19000101" if kind.has_text_key else key * 10**8 + 19000101 for key in named]
    fixed = {
        kind.key: keys,
        "version_key": pa.array(named, history_schema(kind).field("version_key").type),
        "is_current": pa.array(np.ones(count, bool)),
        **dict.fromkeys(("valid_from", "covers_from"), pa.array([FIRST] * count, pa.date32())),
        **dict.fromkeys(("valid_to", "covers_to"), pa.array([LAST] * count, pa.date32())),
        **dict.fromkeys(kind.worded, pa.array(words, pa.string())),
    }
    columns = [fixed.get(field.name, pa.nulls(count, field.type)) for field in schema]
    return pa.table(columns, schema=schema).append_column(INFERRED, pa.array([inferred] * count, pa.bool_()))
