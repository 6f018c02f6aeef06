"""Drops as they are planned: what is listed, what is known, what is to be scanned."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from jobs.ports.records import DropRecord
from jobs.state.manifest import Delivery, Manifest
from jobs.steps.contents import Place

DropChange = Literal["new", "replaced", "put again", "known"]
"""Against the ledger; what is put again has the same bytes under the same key."""
Gone = Literal["", "replaced", "vanished"]
"""How the object of a live drop is gone: a new version has its name, or nothing has."""


@dataclass(frozen=True)
class PlannedDrop:
    """One drop that is there now, or that counts although its object is gone."""

    delivery: Delivery
    change: DropChange
    place: Place = ("", "")
    """In the order of deliveries."""
    manifest: Manifest | None = None
    """What its scan found, if it was scanned before."""
    content: str = ""
    """Hash of its bytes, if it is known."""
    duplicate_of: str = ""
    """Key of the drop with the same content that counts."""
    twin: Manifest | None = None
    """The scan of that drop: its rows are those of this one."""
    rejected: str = ""
    held: str = ""
    """Why nothing of it may count, although it can be read."""
    months: tuple[str, ...] = ()
    """Months it touches; of a drop that was not scanned yet, those seen at its start and end."""
    gone: Gone = ""
    """Its object is gone, and the ledger has it as live."""
    superseded: bool = False
    """A newer drop of its dimension holds the whole table."""
    record: DropRecord | None = None
    """What the ledger has of a live drop that is gone."""

    @property
    def taken_over(self) -> bool:
        """Return whether its object is gone, and another one has its content: it was moved, or put again."""
        return bool(self.gone and self.duplicate_of)

    @property
    def to_scan(self) -> bool:
        return not (self.manifest or self.duplicate_of or self.rejected or self.gone or self.superseded)


@dataclass(frozen=True)
class Plan:
    """What a build would do."""

    drops: tuple[PlannedDrop, ...]
    """All drops: sales in the order of their delivery, of each dimension the newest; and live ones that are gone."""
    withdrawn: tuple[DropRecord, ...] = ()
    """Records of drops that did not count, and are no longer there."""
    older_rules: int = 0
    """Drops that were judged by other row rules than today's; --rescan judges them again."""
    older_gone: int = 0
    """Those of them whose objects are gone: they cannot be."""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """Objects that are no CSV, by kind."""
    no_data: int = 0
    """Objects whose names say that they are no data."""
    unremembered: int = 0
    """Sales drops whose place is that of their objects, since the ledger remembers nothing."""
    forgotten: int = 0
    """Sales drops that the state has, and neither the source nor the ledger, which remembers nothing."""
    small_alike: tuple[tuple[str, ...], ...] = ()
    """Sales deliveries with the same rows, too few to be sure that they are one drop."""

    @property
    def to_scan(self) -> list[PlannedDrop]:
        return [drop for drop in self.drops if drop.to_scan]

    def gone(self, how: Gone) -> list[PlannedDrop]:
        """Return the live drops whose object is gone."""
        return [drop for drop in self.drops if drop.gone == how]
