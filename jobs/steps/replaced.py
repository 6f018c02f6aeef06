"""Replaced lines and the lines that replaced them, for `marts history --replaced`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.ports.store import Store
from jobs.state.manifest import Manifest
from jobs.steps.lines import MarkedLines, of_fact, read_all_marked
from marts.compute.identity import Identity
from marts.errors import UsageError
from marts.pack import DIGITS, Kind, SourceColumn


@dataclass(frozen=True)
class ReplacedLine:
    """A line of a transaction that was delivered again."""

    values: dict[str, Any]
    """Values, by column: those that identify it, what it is worth, and what a replacement changes."""
    drop: str
    fate: str
    """replaced, repeated, or counts."""


def replaced_lines(state: Store, manifests: Sequence[Manifest], key: str, identity: Identity) -> list[ReplacedLine]:
    """Return the lines of each transaction in which a drop of a fact replaced lines, or had lines replaced.

    ``manifests``: those of the live drops, in order of delivery. Raise UsageError for a drop that is not live.
    """
    manifests = of_fact(manifests, identity)
    own = [number for number, manifest in enumerate(manifests) if manifest.delivery.key == key]
    if not own:
        raise UsageError("not a live drop of a fact", key, "`marts history` lists the drops that runs have read")
    wanted = {month for number in own for month in manifests[number].months}
    months = {month for manifest in manifests for month in manifest.months}
    if identity.within_month:
        months &= wanted
    parts = [_concerning(read, own) for read in read_all_marked(state, manifests, months, identity)]
    differing = [column for column in identity.fact.columns if any(_differs(column, rows, identity) for rows in parts)]
    keys = [manifest.delivery.key for manifest in manifests]
    results = [row for rows in parts for row in rows]
    order = sorted(results, key=lambda row: (row["t_id"], row["basket"], row["delivery"], row["position"]))
    return [_line(row, keys, identity, differing) for row in order]


def _differs(column: SourceColumn, rows: Sequence[dict[str, Any]], identity: Identity) -> bool:
    """Return whether a line that replaces another has another value of a column, which is no personal data."""
    item = identity.clean(identity.fact.item) if identity.fact.item else "t_line"
    values: dict[tuple[Any, ...], set[Any]] = {}
    for row in rows if not column.personal else ():
        values.setdefault((row["basket"], row["t_line"], row[item]), set()).add(row[column.clean_name])
    return any(len(several) > 1 for several in values.values())


def _concerning(read: MarkedLines, own: Sequence[int]) -> list[dict[str, Any]]:
    """Return the lines of transactions that concern one of some drops."""
    whole, marks = read.suspects, read.marks
    replaced = marks.filter(pc.equal(marks["mark"], "replaced"))
    # Its own lines were replaced, or it has lines of a transaction in which an earlier drop's were.
    with_mine = pc.unique(marks.filter(pc.is_in(marks["delivery"], pa.array(own, marks["delivery"].type)))["basket"])
    baskets = pc.unique(replaced.filter(pc.is_in(replaced["basket"], with_mine))["basket"])
    displayed = marks.filter(pc.is_in(marks["basket"], baskets)).to_pylist()  # a line may have several marks
    left_out = {row["position"]: row["mark"] for row in displayed if row["mark"] in ("replaced", "repeated")}
    fates = {row["position"]: (row["basket"], left_out.get(row["position"], "counts")) for row in displayed}
    result = whole.filter(pc.is_in(whole["position"], pa.array(list(fates), pa.int64()))).to_pylist()
    return [{**row, "basket": fates[row["position"]][0], "fate": fates[row["position"]][1]} for row in result]


def _line(
    row: dict[str, Any], keys: Sequence[str], identity: Identity, differing: Sequence[SourceColumn]
) -> ReplacedLine:
    fact = identity.fact
    names = (
        fact.id,
        fact.dated_by.name,
        *identity.owners,
        fact.item,
        fact.number,
        *reversed(fact.sign),
        *_named(fact.control, fact),
    )
    columns = dict.fromkeys([*(fact.column(name) for name in dict.fromkeys(names) if name), *differing])
    values = {column.name: _value(column, row[column.clean_name]) for column in columns}
    return ReplacedLine(values, keys[row["delivery"]], row["fate"])


def _named(clean_name: str, fact: Kind) -> list[str]:
    return [column.name for column in fact.columns if column.clean_name == clean_name]


def _value(column: SourceColumn, value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    if value is None or column.type not in DIGITS:
        return value
    exact = Decimal(value).scaleb(-DIGITS[column.type])
    return exact if DIGITS[column.type] == DIGITS["money"] else exact.normalize()
