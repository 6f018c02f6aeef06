"""Resolve the state of each drop: live, duplicate, rejected, held or deferred to the next run."""

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from operator import add

from jobs.ports.records import ASKED, KEPT, DropRecord
from jobs.report.run_report import DropReport, DropState, FactTotal, Totals
from jobs.state.manifest import Manifest
from jobs.steps.contents import ALIKE
from jobs.steps.planned import Plan, PlannedDrop
from jobs.steps.row_files import control_of
from jobs.steps.series import series_of
from jobs.steps.withdrawals import KEPT_ON, Withdrawals
from marts.pack import Pack
from marts.values import amount_of

_REASONS = 3
REPLACED = "a new version replaced it"
COUNTS_ON: tuple[DropState, ...] = ("live", "missing")
"""States of drops that count in the marts."""


@dataclass(frozen=True)
class DropCounts:
    """Counts of the lines of a drop, from the roll-up."""

    lines: int = 0
    repeated: int = 0
    """Lines that do not count because an equal line of their transaction does."""
    replaced: int = 0
    """Lines that do not count because other lines of their transaction replaced them."""
    replaced_unnumbered: int = 0
    """Replaced lines without line_no."""
    repeated_cents: int = 0
    replaced_cents: int = 0
    replaced_unnumbered_cents: int = 0
    counted: int = 0
    """Lines up to as_of that count."""
    counted_cents: int = 0
    guests: int = 0
    """Counted lines of guests."""
    guest_cents: int = 0
    without_transaction: int = 0
    equal: int = 0
    """Lines that count besides an equal line of the same drop and transaction."""
    conflicting: int = 0
    """Lines that were replaced by a line of the same drop with the same number."""
    overlapping: int = 0
    """Transactions that count besides a part from an earlier delivery."""

    def __add__(self, other: "DropCounts") -> "DropCounts":
        # astuple copies deeply: 0.1 ms per drop.
        return DropCounts(*map(add, vars(self).values(), vars(other).values()))

    @property
    def duplicates(self) -> int:
        return self.repeated + self.replaced


@dataclass(frozen=True)
class ResolvedDrop:
    """A drop and its resolved state."""

    drop: PlannedDrop
    state: DropState
    reason: str = ""
    counts: DropCounts = DropCounts()

    @property
    def report(self) -> DropReport:
        manifest, counts = self.drop.manifest or self.drop.twin, self.counts
        rows = manifest.rows_read if manifest and self.state in (*COUNTS_ON, "held", "duplicate") else 0
        quarantined = manifest.quarantined if manifest and rows else 0
        repeated, repeated_cents = counts.repeated, counts.repeated_cents
        if manifest and self.state == "duplicate":
            quarantined, repeated, repeated_cents = 0, rows, control_of(self.drop.of, manifest)
        return DropReport(
            is_fact=self.drop.is_fact,
            kind=self.drop.delivery.kind,
            key=self.drop.delivery.key,
            change="vanished" if self.drop.gone == "vanished" else self.drop.change,
            state=self.state,
            reason=self.reason,
            delivery=self.drop.delivery.id,
            rows_read=rows,
            clean=rows - quarantined - repeated - counts.replaced,
            quarantined=quarantined,
            duplicates=repeated + counts.replaced,
            repeated=repeated,
            replaced=counts.replaced,
            repeated_total=amount_of(repeated_cents),
            replaced_total=amount_of(counts.replaced_cents),
            reasons=manifest.reasons[:_REASONS] if manifest else (),
            columns=manifest.fields if manifest and manifest.reasons else (),
        )

    @property
    def gone(self) -> str:
        """Return the status of a removed object for the ledger (KEPT, ASKED), independent of the reason."""
        record = self.drop.record
        if self.state not in COUNTS_ON or record is None:
            return ""
        stays = self.reason == KEPT_ON
        asked = self.state == "missing" or (record.asked and not stays)
        return ", ".join([*([KEPT] if record.kept or stays else []), *([ASKED] if asked else [])])

    @property
    def content(self) -> str:
        """Return the hash of its bytes; empty if they were never read."""
        return (self.drop.manifest.content if self.drop.manifest else "") or self.drop.content

    def record(self, run_id: str) -> DropRecord:
        """Return its ledger record. A drop whose object was removed is live as long as it counts."""
        delivery, report, drop = self.drop.delivery, self.report, self.drop
        manifest = drop.manifest or drop.twin
        state = "live" if self.state == "missing" else self.state
        first_day, last_day = "", ""
        if manifest:
            first_day, last_day = manifest.span if state == "live" else manifest.whole_span
        if drop.record and (state == "withdrawn" or drop.manifest is None):
            return replace(drop.record, state=state, reason=self.reason, run_id=run_id, gone=self.gone)
        return DropRecord(
            kind=delivery.kind,
            object_key=delivery.key,
            delivery_id=delivery.id,
            etag=delivery.etag,
            size=delivery.size,
            modified=delivery.modified,
            state=state,
            reason=self.reason,
            rows_read=report.rows_read,
            clean=report.clean,
            quarantined=report.quarantined,
            duplicates=report.duplicates,
            run_id=run_id,
            content=self.content,
            first_seen=drop.place[0],
            first_key=drop.place[1],
            repeated=report.repeated,
            replaced=report.replaced,
            repeated_cents=int(report.repeated_total * 100),
            replaced_cents=self.counts.replaced_cents,
            counted_cents=self.counts.counted_cents,
            gone=self.gone,
            first_day=first_day,
            last_day=last_day,
        )


@dataclass(frozen=True)
class Resolved:
    """All drops of a run."""

    all: tuple[ResolvedDrop, ...]
    pack: Pack

    @property
    def live_facts(self) -> list[Manifest]:
        """Return the manifests of the live drops of facts, in order of delivery."""
        return [v.drop.manifest for v in self.live_fact_drops if v.drop.manifest]

    @property
    def live_fact_drops(self) -> "list[ResolvedDrop]":
        """Return the drops of facts that count, in order of delivery."""
        results = [v for v in self.all if v.state in COUNTS_ON and v.drop.is_fact]
        return sorted(results, key=lambda v: v.drop.rank)

    @property
    def dimensions(self) -> list[Manifest]:
        """Return the manifests of the live drops of each dimension, in order of delivery: one, and changes to it."""
        result = (v for v in self.all if v.state in COUNTS_ON and not v.drop.is_fact)
        return _manifests(result, self.pack)

    @property
    def absent(self) -> list[str]:
        """Return the dimensions without a live drop."""
        existing = {manifest.delivery.kind for manifest in self.dimensions}
        return [kind.name for kind in self.pack.dimensions if kind.name not in existing]

    @cached_property
    def counts(self) -> DropCounts:
        return sum(self._counts.values(), DropCounts())

    def counts_of(self, facts: Container[str]) -> DropCounts:
        """Return the counts of the drops of some facts."""
        return sum((counts for kind, counts in self._counts.items() if kind in facts), DropCounts())

    @cached_property
    def _counts(self) -> dict[str, DropCounts]:
        """Return the counts of the drops of each kind."""
        results: dict[str, DropCounts] = defaultdict(DropCounts)
        for item in self.all:
            results[item.drop.delivery.kind] += item.counts
        return results

    def with_counts(self, counts: Mapping[str, DropCounts]) -> "Resolved":
        """Set the counts of the roll-up, by the origin of each drop."""
        return replace(self, all=tuple(replace(v, counts=counts.get(_origin(v), v.counts)) for v in self.all))

    def totals(self, scanned: Container[str]) -> Totals:
        """Sum up the drops of facts, or of all kinds of a pack without facts.

        ``scanned`` contains the deliveries that this run read.
        """
        kinds = [kind.name for kind in self.pack.facts or self.pack.kinds.values()]
        own = [item for item in self.all if item.drop.delivery.kind in kinds]
        reports = [item.report for item in own if item.state in (*COUNTS_ON, "duplicate")]
        counts = self.counts
        return Totals(
            kinds=tuple(kinds),
            drops=sum(not item.drop.gone for item in own),
            held_rows=sum(item.report.rows_read for item in own if item.state == "held"),
            scanned=sum(item.drop.delivery.id in scanned for item in own),
            rows_read=sum(report.rows_read for report in reports),
            clean=sum(report.clean for report in reports),
            quarantined=sum(report.quarantined for report in reports),
            duplicates=sum(report.duplicates for report in reports),
            repeated=sum(report.repeated for report in reports),
            replaced=sum(report.replaced for report in reports),
            repeated_total=sum((report.repeated_total for report in reports), Decimal(0)),
            replaced_total=sum((report.replaced_total for report in reports), Decimal(0)),
            counted=counts.counted if self.pack.facts else sum(report.clean for report in reports),
            counted_total=amount_of(counts.counted_cents),
            guests=counts.guests,
            guests_total=amount_of(counts.guest_cents),
            facts=self._fact_totals() if len(self.pack.facts) > 1 else {},
        )

    def _fact_totals(self) -> dict[str, FactTotal]:
        by_fact = {fact.name: self.counts_of({fact.name}) for fact in self.pack.facts}
        return {
            name: FactTotal(counted=counts.counted, counted_total=amount_of(counts.counted_cents))
            for name, counts in by_fact.items()
        }

    def changed(self, ledger: Sequence[DropRecord], run_id: str) -> list[DropRecord]:
        """Return the records that differ from those in the ledger; not if only the ledger lacks the days."""
        known = {record.delivery_id: replace(record, run_id=run_id) for record in ledger}
        records = [item.record(run_id) for item in self.all if item.state != "deferred"]
        return [record for record in records if _with_days(known.get(record.delivery_id), record) != record]

    def unheard(self, ledger: Sequence[DropRecord]) -> list[ResolvedDrop]:
        """Return rejected, held and missing drops that no earlier run reported, or only for another reason.

        A drop that is put again unchanged is not reported again.
        """
        announced: set[tuple[str, str, bool]] = set()
        for record in ledger:
            if record.state in ("rejected", "held"):
                names = _names(record.delivery_id, record.object_key, record.content)
                announced |= {(name, record.state, record.reason.startswith(ALIKE)) for name in names}
            elif record.asked:
                announced.add((record.delivery_id, "missing", False))
        bad = (item for item in self.all if item.state in ("rejected", "held", "missing"))

        def is_reported(v: ResolvedDrop) -> bool:
            names = _names(v.drop.delivery.id, v.drop.delivery.key, v.content)
            return any((name, v.state, v.reason.startswith(ALIKE)) in announced for name in names)

        return [item for item in bad if not is_reported(item)]

    def holding(self, reasons: Mapping[str, str]) -> "Resolved":
        """Return the drops with some deliveries held, each for a reason: the versions they replace still count."""
        by_id = {item.drop.delivery.id: item for item in self.all}
        by_id |= {name: replace(by_id[name], state="held", reason=reason) for name, reason in reasons.items()}
        items = tuple(by_id[v.drop.delivery.id] for v in self.all)
        return _with_series(_with_what_they_replace(replace(self, all=items)))


def _with_days(known: DropRecord | None, record: DropRecord) -> DropRecord | None:
    """Return a record of the ledger with the days of another one, if an earlier version wrote it without."""
    if known is None or known.first_day:
        return known
    return replace(known, first_day=record.first_day, last_day=record.last_day)


def _names(delivery: str, key: str, content: str) -> list[str]:
    """Return the names of a drop: the delivery, and the key with the content hash if the bytes were read."""
    return [delivery, *([f"{key} {content}"] if content else [])]


def is_vanished(item: ResolvedDrop) -> bool:
    """Return whether the object of a drop was removed and no other object has its content."""
    return item.drop.gone == "vanished" and not item.drop.duplicate_of


def may_be_withdrawn(item: ResolvedDrop) -> bool:
    """Return whether people decide about a withdrawal: a dimension keeps its last table automatically."""
    return is_vanished(item) and item.drop.accumulates


def _origin(item: ResolvedDrop) -> str:
    return item.drop.manifest.origin if item.drop.manifest and item.state in COUNTS_ON else ""


def resolve(plan: Plan, withdrawals: Withdrawals) -> Resolved:
    """Resolve the state of each drop of a plan."""
    resolved = _with_what_they_replace(Resolved(tuple(_resolve_drop(drop) for drop in plan.drops), plan.pack))
    # An older drop of a series is nobody's decision if it vanishes; that of the newest may bring back the one before.
    return _with_series(_with_withdrawals(_with_series(resolved), withdrawals))


def _with_series(resolved: Resolved) -> Resolved:
    """Let of each series of drops, that hold the month so far or everything, the newest count that can."""
    newest: dict[tuple[str, ...], ResolvedDrop] = {}
    back = [replace(v, state="live", reason="") if _is_older(v) and not v.drop.gone else v for v in resolved.all]
    for item in sorted(back, key=lambda v: v.drop.rank):
        if item.state in COUNTS_ON and (series := series_of(item.drop)):
            newest[series] = item

    def settled(item: ResolvedDrop) -> ResolvedDrop:
        series = series_of(item.drop)
        if item.state not in COUNTS_ON or not series or newest[series] is item:
            return item
        return replace(item, state="withdrawn" if item.drop.gone else "older", reason=_OLDER)

    return replace(resolved, all=tuple(map(settled, back)))


def _is_older(item: ResolvedDrop) -> bool:
    """Return whether a drop is the older one of a series, and could count."""
    return item.state == "older" and not item.drop.superseded and item.drop.manifest is not None


_OLDER = "superseded by a newer drop that holds it all"


def _resolve_drop(drop: PlannedDrop) -> ResolvedDrop:
    if drop.superseded:
        return ResolvedDrop(drop, "withdrawn" if drop.gone else "older", _OLDER)
    if drop.gone:
        return ResolvedDrop(drop, "withdrawn", _left(drop)) if drop.duplicate_of else ResolvedDrop(drop, "missing")
    if drop.duplicate_of:
        return ResolvedDrop(drop, "duplicate", f"same content as {drop.duplicate_of}")
    manifest = drop.manifest
    if drop.rejected:
        return ResolvedDrop(drop, "rejected", drop.rejected)
    if manifest is None:
        return ResolvedDrop(drop, "deferred", "it changed or was removed while it was read; the next run reads it")
    if drop.held:
        return ResolvedDrop(drop, "held", drop.held)
    return ResolvedDrop(drop, "live")


def _left(drop: PlannedDrop) -> str:
    """Return why a drop no longer counts: another drop has its content or its name."""
    moved = drop.duplicate_of not in ("", drop.delivery.key)
    return f"now delivered as {drop.duplicate_of}" if moved else REPLACED


def _with_what_they_replace(resolved: Resolved) -> Resolved:
    """Withdraw earlier versions of drops, unless the new version cannot count: then the old one still counts."""
    now = {(v.drop.delivery.kind, v.drop.delivery.key): v for v in resolved.all if not v.drop.gone}

    def settled(item: ResolvedDrop) -> ResolvedDrop:
        drop = item.drop
        if not drop.gone or (drop.gone == "vanished" and not drop.duplicate_of):
            return item
        new = now.get((drop.delivery.kind, drop.duplicate_of or drop.delivery.key))
        counts = now.get((drop.delivery.kind, new.drop.duplicate_of)) if new and new.drop.duplicate_of else new
        if new is None or counts is None or counts.state in ("live", "older"):
            return replace(item, state="withdrawn", reason=_left(drop))
        what = "its new version" if drop.delivery.key == new.drop.delivery.key else new.drop.delivery.key
        like = f" like {counts.drop.delivery.key}" if counts is not new else ""
        return replace(item, state="live", reason=f"{what} is {counts.state}{like}: this one counts on")

    return replace(resolved, all=tuple(settled(item) for item in resolved.all))


_LAST_TABLE = "all drops of the dimension are gone: its last table counts on"


def _with_withdrawals(resolved: Resolved, withdrawals: Withdrawals) -> Resolved:
    """Decide about drops whose objects were removed."""
    vanished = [v for v in resolved.all if v.drop.gone == "vanished" and v.state == "missing"]
    records = [v.drop.record for v in vanished if v.drop.record]
    decided = withdrawals.decide([record for record in records if resolved.pack.accumulates(record.kind)])

    def settled(item: ResolvedDrop) -> ResolvedDrop:
        drop = item.drop
        if drop.gone != "vanished" or item.state != "missing":
            return item
        if not drop.accumulates:
            adds = drop.block.delivers == "changes"
            reason = "its object is gone: its changes count on" if adds else _LAST_TABLE
            return replace(item, state="live", reason=reason)
        state, reason = decided[drop.delivery.id]
        return replace(item, state=state, reason=reason)

    return replace(resolved, all=tuple(settled(item) for item in resolved.all))


def _manifests(resolved: Iterable[ResolvedDrop], pack: Pack) -> list[Manifest]:
    results = [item.drop.manifest for item in resolved if item.drop.manifest]
    return sorted(results, key=lambda manifest: list(pack.kinds).index(manifest.delivery.kind))
