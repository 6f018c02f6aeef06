"""A share of a delivery that one task reads, and its result."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from jobs.state.manifest import Delivery, LinesFile, MonthLines, Reason, name_of
from jobs.steps.scan_settings import ScanSettings
from jobs.steps.uniqueness import KeyFile
from marts.dialect import LineFormat
from marts.quality.findings import Measured

_NOTHING = Measured()
_NO_LINES = LineFormat()


@dataclass(frozen=True)
class Split:
    """A share of one delivery: bytes from start to stop, or all of it if stop is None."""

    delivery: Delivery
    number: int
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True)
class SplitResult:
    """Result of scanning one split."""

    split: Split
    rejected: str = ""
    unreadable: bool = False
    """Rejected because it cannot be read now: the next run tries again."""
    changed: str = ""
    """The object is no longer the planned version."""
    unsplittable: bool = False
    """A record spans lines: the drop must be read as a whole."""
    leaves: tuple[str, ...] = ()
    rows_read: int = 0
    lines: int = 0
    months: dict[str, MonthLines] = field(default_factory=dict)
    files: tuple[LinesFile, ...] = ()
    quarantine: tuple[str, ...] = ()
    quarantined: int = 0
    reasons: tuple[Reason, ...] = ()
    measured: Measured = _NOTHING
    keys: tuple[KeyFile, ...] = ()
    """Keys to compare with those of the other splits."""
    extra_columns: tuple[str, ...] = ()
    currencies: tuple[str, ...] = ()
    sums: tuple[int, ...] = ()
    """As in the manifest."""
    form: LineFormat = _NO_LINES
    """How its raw rows are read."""
    from_id: tuple[str, ...] = ()
    """As in the manifest."""
    foreign: int = 0
    """Records that are not UTF-8 but may be text in another encoding."""
    wide: bool = False
    """Whether there are characters of several bytes, in valid UTF-8."""
    bad_days: tuple[date, ...] = ()
    """As in the manifest."""


def ends_of(days: Sequence[date]) -> tuple[date, ...]:
    """Return the first and the last of some days; empty if there are none."""
    return (min(days), max(days)) if days else ()


def scan_name(settings: ScanSettings, delivery: Delivery) -> str:
    """Return the name of the scan of a delivery with the current rules."""
    return _name_by_rules(settings, delivery, delivery.id)


def origin_of(settings: ScanSettings, delivery: Delivery, content: str) -> str:
    """Return the name of the origin of clean rows: content and rules, independent of the name of the object."""
    return _name_by_rules(settings, delivery, content or delivery.id)


def _name_by_rules(settings: ScanSettings, delivery: Delivery, what: str) -> str:
    without = [settings.erased.name] if settings.erased.numbers else []
    return name_of(what, settings.rules(delivery.kind, delivery.key), *without)
