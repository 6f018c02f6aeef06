"""Drops of a plan: listed objects, known drops, drops to scan."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from jobs.ports.records import DropRecord
from jobs.state.manifest import Delivery, Manifest
from jobs.steps.contents import Place
from marts.pack import Kind, Pack
from marts.rows.source_block import DEFAULT, SourceBlock

DropChange = Literal["new", "replaced", "put again", "known"]
"""Change compared with the ledger; "put again" means the same bytes under the same key."""
Gone = Literal["", "replaced", "vanished"]
"""How the object of a live drop was removed: replaced by a new version of its name, or vanished."""


@dataclass(frozen=True)
class PlannedDrop:
    """A drop whose object exists, or that is live although its object was removed."""

    delivery: Delivery
    change: DropChange
    place: Place = ("", "")
    """Place in the order of deliveries."""
    manifest: Manifest | None = None
    """Result of an earlier scan, if any."""
    content: str = ""
    """Hash of its bytes, if known."""
    duplicate_of: str = ""
    """Key of the drop that counts instead, with the same content."""
    twin: Manifest | None = None
    """Scan of that drop, which has the same rows."""
    rejected: str = ""
    held: str = ""
    """Why nothing of it may count although it is readable."""
    months: tuple[str, ...] = ()
    """Months it touches; for a drop not scanned yet, those seen at its start and end."""
    gone: Gone = ""
    """How its object was removed, if the ledger has the drop as live."""
    superseded: bool = False
    """A newer drop contains all of it: the whole table of its dimension, or everything."""
    record: DropRecord | None = None
    """Ledger record of a live drop whose object was removed."""
    of: Kind | None = None
    """Its kind of drop; None for one that the pack does not know."""
    block: SourceBlock = DEFAULT
    """How it is read, ordered, and added to the others."""

    @property
    def rank(self) -> tuple[tuple[str, str], Place, tuple[str, str]]:
        """Return the sort key of deliveries."""
        return self.block.rank(self.place), self.place, self.delivery.order

    @property
    def is_fact(self) -> bool:
        """Return whether it adds rows of days; else it is the table of a dimension."""
        return self.of is not None and self.of.is_fact

    @property
    def accumulates(self) -> bool:
        """Return whether it counts beside the other drops of its kind."""
        return self.of is not None and self.of.accumulates

    @property
    def taken_over(self) -> bool:
        """Return whether its object was removed and another object has its content: it was moved or put again."""
        return bool(self.gone and self.duplicate_of)

    @property
    def to_scan(self) -> bool:
        return not (self.manifest or self.duplicate_of or self.rejected or self.gone or self.superseded)


@dataclass(frozen=True)
class Plan:
    """Drops of a build, and what is known about them before the scan."""

    drops: tuple[PlannedDrop, ...]
    """Drops of facts in order of delivery, then dimensions, older drops last; includes live drops without object."""
    pack: Pack
    withdrawn: tuple[DropRecord, ...] = ()
    """Records of drops that are no longer among ``drops``."""
    older_rules: int = 0
    """Drops that were judged by older row rules; --rescan judges them again."""
    older_gone: int = 0
    """Drops judged by older row rules whose objects vanished: they cannot be judged again."""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """Objects that are not CSV, by kind."""
    no_data: int = 0
    """Objects that are ignored because of their names."""
    unremembered: int = 0
    """Drops of facts ordered by the times of their objects, because the ledger is empty."""
    forgotten: int = 0
    """Drops of facts in the state that are neither in the source nor in the ledger, which is empty."""
    small_alike: tuple[tuple[str, ...], ...] = ()
    """Deliveries of facts with the same rows, too few to treat them as one drop."""

    @property
    def to_scan(self) -> list[PlannedDrop]:
        return [drop for drop in self.drops if drop.to_scan]

    def gone(self, how: Gone) -> list[PlannedDrop]:
        """Return the live drops whose object was removed in this way."""
        return [drop for drop in self.drops if drop.gone == how]
