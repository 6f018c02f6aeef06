"""What differs between the live publication and the one before it: rows of marts, and the drops behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from decimal import Decimal
from typing import Any

from jobs.ports.differences import Comparison, RowDifference, SumDifference
from jobs.ports.records import DropEvent, Generation, Publication
from jobs.ports.warehouse import Warehouse
from jobs.runtime.escaping import csv_for_spreadsheet
from marts.errors import UsageError
from marts.pack import DECIMALS, Mart, Pack
from marts.policy import nearest
from marts.values import exact

_AMOUNTS = ("count", *(type_ for type_ in DECIMALS if type_ != "version"))
"""Types of columns whose values are subtracted."""
_COUNTS = ("added", "removed", "changed", "unchanged")


@dataclass(frozen=True)
class Side:
    """One of the two publications that are compared."""

    number: int
    since: str
    """When it became live."""
    action: str
    """build or rollback."""
    who: str
    why: str
    run_id: str
    """The last run that computed one of its marts."""
    computed_at: str
    as_of: str
    policy: str
    """Name of the policy of that run; empty if the ledger does not have it."""
    version: str
    generations: Mapping[str, Generation]
    """By mart."""


@dataclass(frozen=True)
class DropChange:
    """A drop whose rows count in one of the publications only, or not all of them."""

    kind: str
    key: str
    change: str
    """new, replaced, released (it was held), withdrawn, duplicate, held, rejected, or recounted."""
    rows: int
    """Its rows that count in the later run."""
    rows_before: int
    """Those that did in the earlier one; of a replaced drop, those of the version before."""
    reason: str


@dataclass(frozen=True)
class MartDifference:
    """What differs in a mart."""

    mart: Mart
    comparison: Comparison

    @property
    def total(self) -> SumDifference | None:
        """Return the sum of its control column, if it has one."""
        return next((item for item in self.comparison.sums if item.column == self.mart.control), None)


@dataclass(frozen=True)
class Differences:
    """What differs between the live publication and the one before it."""

    was: Side
    now: Side
    drops: tuple[DropChange, ...]
    """Between the two runs, in the order of their keys."""
    marts: tuple[MartDifference, ...]

    @property
    def went_back(self) -> bool:
        """Return whether what is live was computed first: then it is without the changes of the drops."""
        return self.now.computed_at < self.was.computed_at


def differences(warehouse: Warehouse, pack: Pack, name: str, limit: int, personal: bool = True) -> Differences:
    """Compare the live publication with the one before it: all marts of the pack, or one by its name or table.

    At most ``limit`` rows of each mart are listed; without ``personal``, none of marts with rows of people, and no
    columns of personal data. Raise UsageError for an unknown mart, for one whose rows cannot be compared, and if only
    one publication is kept.
    """
    marts = [mart for mart in pack.marts.values() if name in ("", mart.name, mart.table)]
    if not marts:
        raise UsageError(f"unknown mart {name!r}{nearest(name, pack.marts)}", "MART", f"write {', '.join(pack.marts)}")
    of_people = {mart.name for mart, _ in pack.marts_of_people}
    limits = dict.fromkeys(marts, limit)
    if not personal:
        limits = {_without_people(mart): 0 if mart.name in of_people or _has_people(mart) else limit for mart in marts}
    return warehouse.snapshot(lambda: _compared(warehouse, limits, name))


def _without_people(mart: Mart) -> Mart:
    return replace(mart, columns=tuple(column for column in mart.columns if not column.personal))


def _has_people(mart: Mart) -> bool:
    """Return whether its keys are personal data."""
    return any(column.personal and column.name in mart.key for column in mart.columns)


def _compared(warehouse: Warehouse, limits: Mapping[Mart, int], name: str) -> Differences:
    """Compare marts, each with the number of rows to list."""
    was, now = _sides(warehouse)
    marts = list(limits)
    parts = [
        MartDifference(mart, warehouse.compare(mart, *generations, limit))
        for mart, limit in limits.items()
        if any(generations := (was.generations.get(mart.name), now.generations.get(mart.name)))
    ]
    if name and not parts:
        raise UsageError("is not published yet", marts[0].table, "run marts build first")
    if name and (why_not := parts[0].comparison.why_not):
        raise UsageError(f"cannot be compared: {why_not}", marts[0].table, "compare after the next publication")
    return Differences(was, now, drops_between(warehouse, was.computed_at, now.computed_at), tuple(parts))


def drops_between(warehouse: Warehouse, since: str, until: str) -> tuple[DropChange, ...]:
    """Return the drops whose rows came, left or changed between two moments, in either order."""
    first, last = sorted([since, until])
    return _drop_changes(warehouse.changes(first, last), first)


def _sides(warehouse: Warehouse) -> tuple[Side, Side]:
    """Return the publication before the live one, and the live one. Raise UsageError if only one is kept."""
    last = warehouse.publications(2)
    if len(last) < 2:
        what = "there is only one publication, so nothing to compare it with" if last else "nothing is published yet"
        hint = (
            "a build publishes again when a drop, the policy or as_of has changed; the last two publications are kept"
        )
        raise UsageError(what, "publications", hint)
    generations = warehouse.generations()
    now, was = (_side(warehouse, publication, generations) for publication in last)
    return was, now


def _side(warehouse: Warehouse, publication: Sequence[Publication], generations: Mapping[int, Generation]) -> Side:
    own = {item.mart: generations[item.generation] for item in publication}
    newest = max(own.values(), key=lambda generation: generation.published_at)
    by, runs = publication[0], warehouse.runs_named([newest.run_id])
    return Side(
        number=by.number,
        since=by.published_at,
        action=by.action,
        who=by.who,
        why=by.why,
        run_id=newest.run_id,
        computed_at=newest.published_at,
        as_of=max(generation.as_of_date for generation in own.values()),
        policy=runs[0].policy if runs else "",
        version=runs[0].version if runs else "",
        generations=own,
    )


def _drop_changes(events: Sequence[DropEvent], since: str) -> tuple[DropChange, ...]:
    """Return the drops whose rows came, left or changed after a moment; ``events`` are all of theirs, oldest first.

    A drop that was put again or moved is the same rows; one that a newer version replaces is not listed beside it.
    """
    before = {event.delivery_id: event for event in events if event.recorded_at <= since}
    after = {event.delivery_id: event for event in events}
    left = [was for name, was in before.items() if _counts(was) and not _counts(after[name])]
    arrived = [now for name, now in after.items() if _counts(now) and not _counts(before.get(name))]
    contents = {_content(was): was for was in left}
    versions = {(was.kind, was.object_key): was for was in left}
    stay = {_content(now) for now in arrived}
    newer = {(now.kind, now.object_key) for now in arrived}
    changes = [
        DropChange(was.kind, was.object_key, now.state, 0, was.clean, now.reason)
        for was in left
        if (now := after[was.delivery_id]).state != "older"
        and _content(was) not in stay
        and (was.kind, was.object_key) not in newer
    ]
    for name, now in after.items():
        earlier = before.get(name)
        same = earlier if _counts(earlier) else contents.get(_content(now))
        if not _counts(now) or (same and same.clean == now.clean):
            continue
        version = same or versions.get((now.kind, now.object_key))
        was_held = earlier is not None and earlier.state == "held"
        change = "recounted" if same else "replaced" if version else "released" if was_held else "new"
        changes.append(DropChange(now.kind, now.object_key, change, now.clean, version.clean if version else 0, ""))
    return tuple(sorted(changes, key=lambda change: (change.key, change.kind)))


def _content(event: DropEvent) -> tuple[str, str]:
    """Return what the rows of a drop are named by: its bytes, or of an older version of the ledger the delivery."""
    return event.kind, event.content or event.delivery_id


def _counts(event: DropEvent | None) -> bool:
    return event is not None and event.state == "live"


def as_json(compared: Differences) -> dict[str, Any]:
    """Return differences for JSON; money stays exact, as text."""
    return {
        "from": _side_as_json(compared.was),
        "to": _side_as_json(compared.now),
        "went_back": compared.went_back,
        "drops": [asdict(drop) for drop in compared.drops],
        "marts": [_mart_as_json(part) for part in compared.marts],
    }


def _side_as_json(side: Side) -> dict[str, Any]:
    return {field.name: getattr(side, field.name) for field in fields(side) if field.name != "generations"}


def _mart_as_json(part: MartDifference) -> dict[str, Any]:
    own = part.comparison
    counts = {name: getattr(own, name) for name in _COUNTS}
    columns = {name: list(getattr(own, name)) for name in ("new_columns", "removed_columns", "retyped_columns")}
    sums = [
        {"column": item.column, "was": str(item.was), "is": str(item.now), "difference": str(item.difference)}
        for item in own.sums
    ]
    rows = [
        {"change": row.change, **{name: _exactly(values) for name, values in _parts(row).items()}} for row in own.rows
    ]
    return {
        "mart": part.mart.name,
        "table": part.mart.table,
        **({"why_not": own.why_not} if own.why_not else counts),
        "sums": sums,
        **columns,
        "ordered_by": own.ordered_by,
        "rows": rows,
        "left_out": own.left_out,
    }


def _parts(row: RowDifference) -> dict[str, Mapping[str, Any]]:
    return {"key": row.key, "was": row.was, "is": row.now}


def _exactly(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: exact(value) for name, value in values.items()}


def as_csv(compared: Differences) -> str:
    """Return the marts with their counts and the sum of their control column, as CSV for spreadsheets."""
    rows: list[Sequence[object]] = [("mart", *_COUNTS, "total_was", "total_is", "difference")]
    for part in compared.marts:
        total = part.total
        sums = (total.was, total.now, total.difference) if total else (None, None, None)
        counts = [None if part.comparison.why_not else getattr(part.comparison, name) for name in _COUNTS]
        rows.append((part.mart.name, *counts, *sums))
    return csv_for_spreadsheet(rows)


def rows_as_csv(part: MartDifference) -> str:
    """Return the rows that differ as CSV for spreadsheets: one line for each value that differs."""
    header = (*part.mart.key, "change", "column", "was", "is", "difference")
    values = ((*row.key.values(), row.change, *value) for row in part.comparison.rows for value in values_of(part, row))
    return csv_for_spreadsheet([header, *values])


def values_of(part: MartDifference, row: RowDifference) -> list[tuple[str, Any, Any, Decimal | int | None]]:
    """Return the values of a row that differ: the column, what it was, what it is, and the difference.

    A row that does not exist adds nothing to a sum: the differences of a column add up to that of its total.
    """
    types = {column.name: column.type for column in part.mart.columns}
    return [
        (
            name,
            row.was.get(name),
            row.now.get(name),
            change_of(types[name], row.was.get(name, 0), row.now.get(name, 0)),
        )
        for name in row.now or row.was
    ]


def change_of(type_: str, was: object, now: object) -> Decimal | int | None:
    """Return by how much an amount or a count changed; None of values of other types, and of NULL."""
    if type_ not in _AMOUNTS or was is None or now is None:
        return None
    return now - was  # type: ignore[operator,no-any-return]
