"""Values that the stages of a build pass on. What is known of them makes the report, of a failed run's too."""

from collections.abc import Mapping
from dataclasses import dataclass

from jobs.ports.records import DropRecord, Generation, QualityRecord, Staged
from jobs.report.run_report import QualityReport, RunReport, Totals
from jobs.state.catalog import Catalog
from jobs.steps.fall import DayTotals, Fall
from jobs.steps.materialize import MartRows
from jobs.steps.planned import Plan
from jobs.steps.resolve import Resolved
from jobs.steps.rollup import RollUp


@dataclass(frozen=True)
class Known:
    """What earlier runs left: the ledger, the catalog of manifests, and the files of the state."""

    ledger: tuple[DropRecord, ...]
    catalog: Catalog
    paths: frozenset[str]


@dataclass(frozen=True)
class Scanned:
    """The drops as planned when nothing was left to scan, and the deliveries that this run has read."""

    plan: Plan
    deliveries: frozenset[str]


@dataclass(frozen=True)
class RolledUp:
    """Facts of all months, and the counts of drops that they give."""

    resolved: Resolved
    """The drops, with their counts; those that look alike are held."""
    months: tuple[RollUp, ...]
    """Up to as_of."""
    computed: tuple[RollUp, ...]
    """Those that this run has computed."""
    days: DayTotals


@dataclass(frozen=True)
class Judged:
    """What Great Expectations says of drops or marts."""

    reports: tuple[QualityReport, ...]
    unusual: tuple[str, ...] = ()
    """Warnings of shares that differ from those of earlier drops."""
    records: tuple[QualityRecord, ...] = ()


@dataclass(frozen=True)
class Live:
    """What readers see before this run publishes, and the reports of the runs that published it, by their ids."""

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
    """Warnings of ids that stand for several transactions."""
    judged: tuple[Judged, ...] = ()
    live: Live | None = None
    fall: Fall | None = None
    loaded: Loaded | None = None
    held_back: str = ""
    """Why nothing is published although marts differ: somebody went back."""
    changes: tuple[str, ...] = ()
    """Why the marts change although nothing was read."""

    @property
    def totals(self) -> Totals:
        """Return the sums over the live drops, once the marts are computed from them."""
        if self.marts is None or not self.rolled_up or not self.scanned:
            return Totals()
        return self.rolled_up.resolved.totals(self.scanned.deliveries)
