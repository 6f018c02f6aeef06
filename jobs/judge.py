"""What becomes of each drop: live, duplicate, rejected, held or left for the next run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from jobs.ledger import DropRecord
from jobs.plan import Plan, PlannedDrop
from jobs.report import DropReport, DropState, Totals
from jobs.state import Manifest
from marts.schema import DIMENSIONS, KINDS, SALES

_REASONS = 3


@dataclass(frozen=True)
class DropCounts:
    """What the roll up found in a drop."""

    lines: int = 0
    duplicates: int = 0
    counted: int = 0
    """Lines up to as_of that were not dropped."""
    counted_cents: int = 0
    without_transaction: int = 0

    def __add__(self, other: "DropCounts") -> "DropCounts":
        return DropCounts(
            self.lines + other.lines,
            self.duplicates + other.duplicates,
            self.counted + other.counted,
            self.counted_cents + other.counted_cents,
            self.without_transaction + other.without_transaction,
        )


@dataclass(frozen=True)
class Verdict:
    """One drop, and what becomes of it."""

    drop: PlannedDrop
    state: DropState
    reason: str = ""
    counts: DropCounts = DropCounts()

    @property
    def report(self) -> DropReport:
        manifest = self.drop.manifest
        rows = manifest.rows_read if manifest and self.state in ("live", "held") else 0
        quarantined = manifest.quarantined if manifest and rows else 0
        return DropReport(
            kind=self.drop.delivery.kind,
            key=self.drop.delivery.key,
            change=self.drop.change,
            state=self.state,
            reason=self.reason,
            delivery=self.drop.delivery.id,
            rows_read=rows,
            clean=rows - quarantined - self.counts.duplicates,
            quarantined=quarantined,
            duplicates=self.counts.duplicates,
            reasons=manifest.reasons[:_REASONS] if manifest else (),
        )

    def record(self, run_id: str) -> DropRecord:
        delivery, report = self.drop.delivery, self.report
        return DropRecord(
            kind=delivery.kind,
            object_key=delivery.key,
            delivery_id=delivery.id,
            etag=delivery.etag,
            size=delivery.size,
            modified=delivery.modified,
            state=self.state,
            reason=self.reason,
            rows_read=report.rows_read,
            clean=report.clean,
            quarantined=report.quarantined,
            duplicates=report.duplicates,
            run_id=run_id,
            content=self.drop.manifest.content if self.drop.manifest else "",
        )


@dataclass(frozen=True)
class Verdicts:
    """All drops of a run."""

    all: tuple[Verdict, ...]

    @property
    def live_sales(self) -> list[Manifest]:
        """What the live sales drops hold, in the order of their delivery."""
        return _manifests(v for v in self.all if v.state == "live" and v.drop.delivery.kind == SALES.name)

    @property
    def dimensions(self) -> list[Manifest]:
        """What the live drop of each dimension holds."""
        return _manifests(v for v in self.all if v.state == "live" and v.drop.delivery.kind != SALES.name)

    @property
    def absent(self) -> list[str]:
        """Dimensions without a live drop."""
        there = {manifest.delivery.kind for manifest in self.dimensions}
        return [kind.name for kind in DIMENSIONS if kind.name not in there]

    @property
    def counts(self) -> DropCounts:
        return sum((verdict.counts for verdict in self.all), DropCounts())

    def with_counts(self, counts: Mapping[str, DropCounts]) -> "Verdicts":
        """Add what the roll up found, by delivery."""
        return Verdicts(tuple(replace(v, counts=counts.get(v.drop.delivery.id, v.counts)) for v in self.all))

    def totals(self, scanned: set[str]) -> Totals:
        """Sum up the sales drops; ``scanned`` are the deliveries that this run read."""
        sales = [verdict for verdict in self.all if verdict.drop.delivery.kind == SALES.name]
        reports = [verdict.report for verdict in sales if verdict.state == "live"]
        return Totals(
            drops=len(sales),
            held_rows=sum(verdict.report.rows_read for verdict in sales if verdict.state == "held"),
            scanned=sum(verdict.drop.delivery.id in scanned for verdict in sales),
            rows_read=sum(report.rows_read for report in reports),
            clean=sum(report.clean for report in reports),
            quarantined=sum(report.quarantined for report in reports),
            duplicates=sum(report.duplicates for report in reports),
            counted=self.counts.counted,
        )

    def changed(self, ledger: Sequence[DropRecord], run_id: str) -> list[DropRecord]:
        """Give the records that are not in the ledger as they should be."""
        known = {record.delivery_id: replace(record, run_id=run_id) for record in ledger}
        records = [verdict.record(run_id) for verdict in self.all if verdict.state != "deferred"]
        return [record for record in records if known.get(record.delivery_id) != record]

    def unheard(self, ledger: Sequence[DropRecord]) -> list[Verdict]:
        """Give rejected and held drops that no earlier run has told of."""
        told = {record.delivery_id for record in ledger if record.state in ("rejected", "held")}
        bad = (verdict for verdict in self.all if verdict.state in ("rejected", "held"))
        return [verdict for verdict in bad if verdict.drop.delivery.id not in told]


def judge(plan: Plan) -> Verdicts:
    """Say what becomes of each drop of a plan."""
    return Verdicts(tuple(_judge(drop) for drop in plan.drops))


def _judge(drop: PlannedDrop) -> Verdict:
    if drop.duplicate_of:
        return Verdict(drop, "duplicate", f"same content as {drop.duplicate_of}")
    manifest = drop.manifest
    if manifest is None:
        return Verdict(drop, "deferred", "it changed or vanished while it was read; the next run takes it")
    if manifest.rejected:
        return Verdict(drop, "rejected", manifest.rejected)
    if drop.held:
        return Verdict(drop, "held", drop.held)
    return Verdict(drop, "live")


def _manifests(verdicts: Iterable[Verdict]) -> list[Manifest]:
    found = [verdict.drop.manifest for verdict in verdicts if verdict.drop.manifest]
    return sorted(found, key=lambda manifest: (list(KINDS).index(manifest.delivery.kind), *manifest.delivery.order))
