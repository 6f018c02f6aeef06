"""Read what is live: the tables of a dashboard in one snapshot, and the report of the run that published them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import pyarrow as pa

from jobs.pages.cube import Cube, UnusualDay
from jobs.ports.records import Generation
from jobs.ports.warehouse import Warehouse
from jobs.report.run_records import report_named, require_readable
from jobs.report.run_report import RunReport
from marts.compute.engine import mart_schema
from marts.dashboard import Dashboard, Unusual
from marts.errors import UsageError
from marts.pack import Mart, Pack

Opener = Callable[[], Warehouse]
"""Opens the target, read only."""


@dataclass(frozen=True)
class Publication:
    """One publication in memory."""

    name: str
    """Changes with each publication."""
    run_id: str
    as_of: date
    published_at: datetime
    report: RunReport | None
    """Of the run that published it; None if the ledger does not have it any more."""
    cube: Cube
    kinds: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The kinds of drops that each figure is computed from; of a figure without, all."""

    @property
    def currency(self) -> str:
        """Return the currency of all amounts; empty if the drops name none, or several."""
        currencies = self.report.currencies if self.report else ()
        return currencies[0] if len(currencies) == 1 else ""


def live_name(live: Mapping[str, Generation], names: Sequence[str]) -> str:
    """Return the name of what is live of some marts; empty if one of them is not."""
    if any(name not in live for name in names):
        return ""
    return "-".join(str(live[name].generation) for name in names)


def read_publication(warehouse: Warehouse, pack: Pack, dashboard: Dashboard) -> Publication:
    """Read the live tables of a dashboard in one snapshot. Raise UsageError if there are none."""
    return warehouse.snapshot(lambda: read_inside(warehouse, pack, dashboard))


def read_inside(warehouse: Warehouse, pack: Pack, dashboard: Dashboard) -> Publication:
    """Read them in the snapshot of the caller."""
    live, names = warehouse.live(), dashboard.tables
    if missing := [name for name in names if name not in live]:
        hint = "run marts build" if not live else "run marts build: an older version published the live marts"
        raise UsageError(f"{pack.marts[missing[0]].table} is not published yet", "marts", hint)
    require_readable(warehouse)
    newest = max((live[name] for name in names), key=lambda generation: generation.published_at)
    as_of = max(date.fromisoformat(live[name].as_of_date) for name in names)
    tables = {name: rows_of(warehouse, pack.marts[name], dashboard.columns_of(name)) for name in names}
    published = datetime.fromisoformat(newest.published_at)
    report = report_named(warehouse, newest.run_id)
    about = dashboard.unusual
    unusual = read_unusual(warehouse, pack.marts[about.mart], about) if about and about.mart in live else ()
    cube = Cube(dashboard, pack.marts, tables, as_of, unusual, report.events if report else ())
    kinds = {
        name: frozenset(figure.drops) or _kinds_of(pack, dashboard.table_of(figure))
        for name, figure in dashboard.figures.items()
    }
    return Publication(live_name(live, names), newest.run_id, as_of, published, report, cube, kinds)


def _kinds_of(pack: Pack, mart: str) -> frozenset[str]:
    """Return the kinds of drops that a mart is computed from: facts and dimensions, and those of what it reads."""
    names = [mart]
    for name in names:  # it grows
        names += [other for other in pack.tables_read(name) if other not in names]
    tables = [pack.tables[name] for name in names]
    facts = {fact for table in tables for fact in pack.facts_of(table)}
    return frozenset(facts | {lookup.kind for table in tables for lookup in table.lookups})


def read_unusual(warehouse: Warehouse, mart: Mart, about: Unusual) -> tuple[UnusualDay, ...]:
    """Read unusual days, in order."""
    rows = rows_of(warehouse, mart, about.columns).to_pylist()
    wanted = [row for row in rows if all(row[name] == value for name, value in about.where.items())]
    days = [UnusualDay(row[about.day], int(row[about.value] * 100), int(row[about.expected] * 100)) for row in wanted]
    return tuple(sorted(days, key=lambda item: item.day))


def rows_of(warehouse: Warehouse, mart: Mart, columns: Sequence[str], where: str = "") -> pa.Table:
    """Read some columns of a live mart; ``where`` is a condition in SQL."""
    condition = f" WHERE {where}" if where else ""
    return warehouse.read(f"SELECT {', '.join(columns)} FROM {mart.table}{condition}", schema_of(mart, columns))


def schema_of(mart: Mart, columns: Sequence[str]) -> pa.Schema:
    """Return the schema of some columns of a mart."""
    schema = mart_schema(mart)
    return pa.schema([schema.field(name) for name in columns])
