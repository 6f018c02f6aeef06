"""Values that the stages of a build pass on. The report is built from the known ones, also for a failed run."""

from collections.abc import Mapping
from dataclasses import dataclass

from jobs.ports.records import Decision, DropRecord, Generation, QualityRecord, Staged
from jobs.report.run_report import AlertReport, QualityReport, RunReport, Totals
from jobs.state.catalog import Catalog
from jobs.steps.fall import DayTotals, Fall
from jobs.steps.materialize import MartRows
from jobs.steps.planned import Plan
from jobs.steps.resolve import Resolved
from jobs.steps.rollup import RollUp


@dataclass(frozen=True)
class Known:
    """Results of earlier runs: the ledger, the decisions, the catalog of manifests, and the files of the state."""

    ledger: tuple[DropRecord, ...]
    decisions: tuple[Decision, ...]
    catalog: Catalog
    paths: frozenset[str]


@dataclass(frozen=True)
class Scanned:
    """The plan when nothing is left to scan, and the deliveries that this run has read."""

    plan: Plan
    deliveries: frozenset[str]


@dataclass(frozen=True)
class RolledUp:
    """Facts of all months, and the counts of drops computed from them."""

    resolved: Resolved
    """The drops, with their counts; those that look alike are held."""
    months: tuple[RollUp, ...]
    """Roll-ups up to as_of."""
    computed: tuple[RollUp, ...]
    """Roll-ups that this run has computed."""
    days: Mapping[str, DayTotals]
    """By fact."""


@dataclass(frozen=True)
class Judged:
    """Results of Great Expectations for drops or marts."""

    reports: tuple[QualityReport, ...]
    unusual: tuple[str, ...] = ()
    """Warnings about shares that differ from those of earlier drops."""
    records: tuple[QualityRecord, ...] = ()


@dataclass(frozen=True)
class Live:
    """Generations that readers see before this run publishes, and the reports of their runs by run id."""

    generations: Mapping[str, Generation]
    reports: Mapping[str, RunReport]


@dataclass(frozen=True)
class Loaded:
    """The marts that differ from the live ones, loaded where no reader sees them."""

    marts: tuple[MartRows, ...]
    staged: tuple[Staged, ...]


@dataclass
class Stages:
    """The stages that a build has completed."""

    known: Known | None = None
    scanned: Scanned | None = None
    resolved: Resolved | None = None
    rolled_up: RolledUp | None = None
    marts: tuple[MartRows, ...] | None = None
    ambiguous_ids: tuple[str, ...] = ()
    """Warnings about ids that several transactions share."""
    judged: tuple[Judged, ...] = ()
    fall: Fall | None = None
    loaded: Loaded | None = None
    held_back: str = ""
    """Why nothing is published although marts differ: a rollback."""
    alerts: tuple[AlertReport, ...] = ()
    """New rows of the loaded marts."""
    changes: tuple[str, ...] = ()
    """Why the marts change although no drop was read."""

    @property
    def totals(self) -> Totals:
        """Return the sums over the live drops, once the marts are computed from them."""
        if self.marts is None or not self.rolled_up or not self.scanned:
            return Totals()
        return self.rolled_up.resolved.totals(self.scanned.deliveries)
