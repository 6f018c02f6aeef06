"""Compute the month tables of a pack from the clean rows of its facts: which rows count, and what they add up to."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from string import Template

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from marts.compute.engine import named_in, prepare, running, selected, sql
from marts.compute.identity import Identity
from marts.compute.numbers import Numbers
from marts.compute.versions import OF_MONTHS, history_schema, month_after, of_days
from marts.names import first_is_positive
from marts.pack import GUEST, TEXT_GUEST, Kind, MonthTable, Pack
from marts.policy import Policy
from marts.reserved_words import BEFORE
from marts.rows.cast import clean_schema

_NO_MARKS = pa.schema([("position", pa.int64()), ("mark", pa.string())]).empty_table()


@dataclass(frozen=True)
class Beyond:
    """Marks of a month's rows whose transactions also have rows in other months."""

    marks: pa.Table
    """position, mark: replace those of identity.sql."""
    crossing: pa.Table
    """Rows of the fact's ``across`` in this month."""


@dataclass(frozen=True)
class FactRows:
    """Clean rows of a fact in one month, or in some of its buckets."""

    rows: pa.Table
    """With ``delivery``, ``position`` and the columns of `Identity.named`."""
    suspects: pa.Table
    """Those that may have been delivered twice, with all columns."""
    identity: Identity
    beyond: Beyond | None = None


@dataclass(frozen=True)
class TablesRead:
    """Tables, besides facts, that tables of a month read."""

    same: Mapping[str, pa.Table] = field(default_factory=dict)
    """Tables of the same month."""
    before: Mapping[str, pa.Table] = field(default_factory=dict)
    """Rows of the months before, with ``month``."""
    dimensions: Mapping[str, pa.Table] = field(default_factory=dict)
    """With the columns of `dimension_columns`."""


NO_TABLES = TablesRead()


@dataclass(frozen=True)
class MonthRows:
    """Rows of the month tables, and what each drop brings."""

    tables: Mapping[str, pa.Table]
    drops: Mapping[str, pa.Table]
    """By fact, one row per delivery and day: rows, redelivered rows, rows and cents counted up to as_of."""
    shared: Mapping[str, pa.Table]
    """By fact, equal rows without an id that two deliveries share."""


def roll_up(
    tables: Sequence[MonthTable],
    facts: Mapping[str, FactRows],
    last_day: date,
    numbers: Numbers,
    read: TablesRead = NO_TABLES,
) -> MonthRows:
    """Compute the tables of one month. ``facts`` are by name; rows after ``last_day`` are left out."""
    settled = {name: _settled(fact, last_day) for name, fact in facts.items()}
    month = last_day.replace(day=1)
    numbers = numbers.used_by(*(text for table in tables for text in (table.sql, *table.prepare)))
    variables = {"last_day": last_day, "month": month, **numbers.variables}
    with running({**numbers.tables, **read.same, **read.dimensions}, variables) as engine:
        for name, fact in facts.items():
            _counting(engine, fact.rows, settled[name].left_out, fact.identity)
            across = fact.beyond.crossing if fact.beyond else _no_crossing(fact.identity)
            engine.register(f"{name}_crossing", across)
        done: set[str] = set()
        results = {}
        for table in tables:
            for name, count in table.lookback.items():
                rows = read.before[name]
                recent = pc.greater_equal(rows["month"], month_after(month, -count))
                engine.register(f"{name}{BEFORE}", rows.filter(recent))
            for text in table.prepare:
                if text not in done:
                    prepare(engine, text, table.name)
                    done.add(text)
            results[table.name] = selected(engine, table.sql, table.name)
            engine.register(table.name, results[table.name])
    drops = {name: item.drops for name, item in settled.items()}
    return MonthRows(results, drops, {name: item.shared for name, item in settled.items()})


@dataclass(frozen=True)
class _SettledFact:
    """What identity.sql and drops.sql say of the rows of a fact."""

    drops: pa.Table
    shared: pa.Table
    left_out: pa.Table
    """Positions of the rows that do not count."""


def _settled(fact: FactRows, last_day: date) -> _SettledFact:
    """Settle which rows of a fact count, apart from the SQL of the pack, whose names may be the same."""
    variables = {"last_day": last_day, **_rules(fact.identity)}
    with running({"lines": fact.rows, "suspects": fact.suspects}, variables) as engine:
        known: dict[str, pa.Table] = {}
        if fact.suspects.num_rows:
            engine.execute(of_fact("identity", fact.identity))
        else:
            known |= _of_no_suspects(fact.identity)
        if fact.beyond:
            engine.execute("DROP TABLE IF EXISTS marks")
            known["marks"] = fact.beyond.marks
        for name, table in known.items():
            engine.register(name, table)
        engine.execute(of_fact("drops", fact.identity))
        names = ("drop_facts", "shared_lines", "left_out_lines")
        return _SettledFact(*(engine.sql(f"FROM {name}").to_arrow_table() for name in names))


@lru_cache(maxsize=16)
def _of_no_suspects(identity: Identity) -> dict[str, pa.Table]:
    """Return what identity.sql computes from no rows: most months have no line that may have been delivered twice."""
    with running({"suspects": identity.empty()}, _rules(identity)) as engine:
        engine.execute(of_fact("identity", identity))
        return {name: engine.sql(f"FROM {name}").to_arrow_table() for name in ("marks", "shared_lines")}


def _rules(identity: Identity) -> dict[str, str]:
    """Return the variables of identity.sql."""
    return {"redelivered": identity.redelivered, "equal_lines": identity.equal_lines}


def dimension_columns(kind: Kind, tables: Sequence[MonthTable]) -> list[str]:
    """Return the columns of a dimension that tables of months read: its key, and those that their SQL names."""
    clean = [name for name in clean_schema(kind).names if name != kind.key]
    texts = [text for table in tables if kind.name in table.dimensions for text in (table.sql, *table.prepare)]
    return [kind.key or "", *named_in(clean, *texts), *(OF_MONTHS if kind.versions else ())]


def dimension_rows(kind: Kind, rows: pa.Table, first: date, after: date) -> pa.Table:
    """Return the rows of a dimension that tables of some days read, in the order of its key."""
    rows = of_days(rows, first, after) if kind.versions else rows
    order = [(name, "ascending") for name in (kind.key or "", *(["covers_from"] if kind.versions else []))]
    return rows.sort_by(order)


def empty_rows(table: MonthTable, pack: Pack, policy: Policy, known: Mapping[str, pa.Table] | None = None) -> pa.Table:
    """Return a table of months without rows, with the columns that its SQL gives. Raise SqlFailed.

    ``known``: other tables of months without rows; those that it reads and that are not known are computed first.
    """
    facts = {}
    for name in table.facts:
        identity = Identity.of(policy, pack, pack.kinds[name])
        rows = identity.empty().select([*identity.columns, "delivery", "position"])
        facts[name] = FactRows(identity.named(rows), identity.empty(), identity)
    months = dict(known or {})
    for name in (*table.also, *table.lookback):
        if name not in months:
            months[name] = empty_rows(pack.months[name], pack, policy, months)
    read = TablesRead(
        {name: months[name].drop_columns(["month"]) for name in table.also},
        {name: months[name] for name in table.lookback},
        {name: empty_dimension(pack.kinds[name], [table]) for name in table.dimensions},
    )
    rows = roll_up([table], facts, date.max, Numbers.of(pack, policy), read).tables[table.name]
    return with_month(rows, date.max)


def empty_dimension(kind: Kind, tables: Sequence[MonthTable]) -> pa.Table:
    """Return a dimension without rows, as tables of months read it."""
    schema = history_schema(kind) if kind.versions else clean_schema(kind)
    return schema.empty_table().select(dimension_columns(kind, tables))


def with_month(rows: pa.Table, month: date) -> pa.Table:
    """Return the rows of a table of months with the first day of their month."""
    return rows.append_column("month", pa.array([month] * rows.num_rows, pa.date32()))


def marked(suspects: pa.Table, identity: Identity) -> pa.Table:
    """Return position, delivery, basket and mark of rows that may have been delivered twice."""
    with running({"suspects": suspects}, _rules(identity)) as engine:
        engine.execute(of_fact("identity", identity))
        query = "SELECT position, delivery, basket, mark FROM candidates LEFT JOIN marks USING (position) ORDER BY ALL"
        return engine.sql(query).to_arrow_table()


def cross_months(rows: pa.Table, marks: pa.Table, last_day: date, identity: Identity) -> pa.Table:
    """Return what ``across`` of a fact computes from the rows of transactions that are in several months."""
    fact = identity.fact
    if not fact.across:
        return pa.schema([("month", pa.string())]).empty_table()
    left_out = marks.filter(pc.is_in(marks["mark"], pa.array(("repeated", "replaced")))).select(["position"])
    with running({}, {"last_day": last_day}) as engine:
        _counting(engine, rows, left_out, identity)
        return engine.sql(fact.across).to_arrow_table()


@lru_cache(maxsize=16)
def _no_crossing(identity: Identity) -> pa.Table:
    """Return what ``across`` of a fact computes where no transaction is in several months; every task asks for it."""
    return cross_months(identity.empty(), _NO_MARKS, date.max, identity)


def code_of(tables: Sequence[MonthTable], facts: Sequence[Kind], numbers: Numbers) -> str:
    """Return a name of the SQL of month tables and of the numbers in it: rows of others have other names."""
    texts = [text for table in tables for text in (table.name, *table.reads, table.sql, *table.prepare)]
    texts += [f"{name}: {count}" for table in tables for name, count in table.lookback.items()]
    texts.append(numbers.used_by(*texts).written)
    own = [text for fact in facts for text in (fact.name, fact.across)]
    engine = [sql(name) for name in ("identity", "drops", "money")]
    return hashlib.sha256("\0".join([*texts, *own, *engine]).encode()).hexdigest()[:16]


def _counting(engine: duckdb.DuckDBPyConnection, rows: pa.Table, left_out: pa.Table, identity: Identity) -> None:
    """Create the view of the rows of a fact that count, under its name."""
    name = identity.fact.name
    engine.register(f"{name}_rows", rows)
    engine.register(f"{name}_left_out", left_out)
    engine.execute(
        f"CREATE TEMP VIEW {name} AS SELECT * FROM {name}_rows ANTI JOIN {name}_left_out USING (position) "
        f"WHERE {identity.fact.at} <= getvariable('last_day')"
    )


def of_fact(name: str, identity: Identity) -> str:
    """Return the SQL of a calculation about any fact, for one."""
    fact = identity.fact
    guests = next((column for column in fact.columns if column.guests), None)
    nobody = f"'{TEXT_GUEST}'" if guests and guests.type == "text_id" else GUEST
    return Template(sql(name)).substitute(
        at=fact.at,
        control=fact.control or "0",
        guest=f"{guests.name} = {nobody}" if guests else "FALSE",
        bought=first_is_positive(identity.signs),
        item=identity.clean(fact.item) if fact.item else "''",
        columns=", ".join(identity.schema.names),
    )
