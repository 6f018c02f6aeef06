"""What the figures do not have: rows in quarantine, drops that do not count, and the rules that rows break."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from jobs.pages.choice import Range
from jobs.ports.records import ROWS, DropRecord, QualityRecord
from jobs.ports.warehouse import Warehouse
from jobs.report.run_report import LEFT_OUT
from jobs.report.templates import counted

_MOST_RULES = 100_000
"""Broken rules of drops that are kept in memory: those of the last drops."""


ANY_REASON = "in quarantine, for any reason"
"""Stands for all rules that put rows in quarantine, and for rows that cannot be read."""


@dataclass(frozen=True)
class BrokenRule:
    """A rule that rows of some drops break."""

    kind: str
    rule: str
    severity: str
    """Empty of `ANY_REASON`."""
    rows: int
    checked: int
    """Rows of these drops."""
    drops: int


@dataclass(frozen=True)
class Outside:
    """What the figures do not have, as the ledger says now: a later run may have held a drop back."""

    drops: tuple[DropRecord, ...]
    """All drops."""
    broken: Mapping[str, Sequence[QualityRecord]] = field(default_factory=dict)
    """Rules that rows of a drop break, by its delivery."""

    def of(self, days: Range) -> "Outside":
        """Return what figures of some days do not have.

        The days of a drop are from the first to the last of its clean rows, and of its bad rows if it does not count.
        One that has none, of a dimension for instance, is of all days.
        """
        return replace(self, drops=tuple(drop for drop in self.drops if drop.may_be_of(days.first, days.last)))

    def of_kinds(self, kinds: Collection[str]) -> "Outside":
        """Return what figures that are computed from some kinds of drops do not have."""
        return replace(self, drops=tuple(drop for drop in self.drops if drop.kind in kinds))

    @cached_property
    def notable(self) -> "Outside":
        """Return it without the drops of which everything counts, and no row breaks a rule."""
        return replace(
            self,
            drops=tuple(d for d in self.drops if d.quarantined or d.delivery_id in self.broken or d.state in LEFT_OUT),
        )

    @cached_property
    def left_out(self) -> tuple[DropRecord, ...]:
        """Return the drops that are held or rejected."""
        return tuple(sorted((drop for drop in self.drops if drop.state in LEFT_OUT), key=lambda drop: drop.object_key))

    @property
    def with_days(self) -> tuple[DropRecord, ...]:
        """Return the drops that count, and whose days are known."""
        return tuple(drop for drop in self.drops if drop.state == "live" and drop.first_day)

    @cached_property
    def quarantined(self) -> int:
        """Return the number of rows in quarantine of drops that count."""
        return sum(drop.quarantined for drop in self.drops if drop.state == "live")

    @property
    def text(self) -> str:
        """Return it in words; empty if nothing is missing."""
        parts = [f"{counted(self.quarantined, 'row')} in quarantine"] if self.quarantined else []
        for state in LEFT_OUT:
            count = sum(drop.state == state for drop in self.left_out)
            parts += [counted(count, f"{state} drop")] if count else []
        return ", ".join(parts)

    @cached_property
    def rules(self) -> tuple[BrokenRule, ...]:
        """Return the rules that rows of the drops that count break: all in quarantine, then the most rows first."""
        of_rule: dict[tuple[str, str], list[QualityRecord]] = {}
        for drop in self.drops:
            for record in self.broken.get(drop.delivery_id, ()) if drop.state == "live" else ():
                of_rule.setdefault((record.kind, record.rule_id), []).append(record)
        rules = [
            BrokenRule(
                kind=records[-1].kind,
                rule=records[-1].rule,
                severity=records[-1].severity,
                rows=sum(record.unexpected for record in records),
                checked=sum(record.row_count for record in records),
                drops=len(records),
            )
            for records in of_rule.values()
        ]
        rules.sort(key=lambda rule: (-rule.rows, rule.kind, rule.rule))
        return (*self._in_quarantine(), *rules)

    def _in_quarantine(self) -> Iterator[BrokenRule]:
        """Yield the rows in quarantine of each kind."""
        live = [drop for drop in self.drops if drop.state == "live" and drop.quarantined]
        for kind in sorted({drop.kind for drop in live}):
            own = [drop for drop in live if drop.kind == kind]
            rows, read = sum(drop.quarantined for drop in own), sum(drop.rows_read for drop in own)
            yield BrokenRule(kind, ANY_REASON, "", rows, read, len(own))


def read_outside(warehouse: Warehouse) -> Outside:
    """Read all drops of the ledger, and the rules that their rows break."""
    broken: dict[str, list[QualityRecord]] = {}
    for record in sorted(warehouse.quality(_MOST_RULES), key=lambda record: record.rule_id):
        if record.rule_id != ROWS and record.unexpected:
            broken.setdefault(record.delivery_id, []).append(record)
    return Outside(tuple(warehouse.drops()), broken)
