"""Which drops count, by plain Python: the identity of deliveries, after DATA alone; lines are the oracle's."""

import gzip
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Literal

from support import oracle
from support.oracle import DEFAULTS, Line, Rules

ENOUGH = 20
"""Rows from which on equal rows are the same delivery, whatever their ids; and lines without ids that can overlap."""
WINDOW = timedelta(days=90)
FEW_DROPS, FEW_LINES = 3, 0.05
"""Up to so many drops, and so large a part of the lines, are taken back unasked in a window."""

Withdrawals = Literal["ask", "apply", "keep"]
Objects = dict[str, tuple[Any, bytes]]
"""What the source holds: time and bytes by key; times are anything that has an order."""


@dataclass
class Drop:
    """One delivery: what it is, where it stands in the order, and its lines."""

    content: Hashable
    place: tuple[Any, str]
    """The earliest time of the objects that held it when it was first seen, and their first name."""
    lines: list[Line]
    names: set[str] = field(default_factory=set)
    """The keys that held it in the last run that met it."""
    clean: int = 0
    """Its lines that counted in the last run in which it was live."""


@dataclass
class Source:
    """A source as its runs see it: deliveries keep the place of their first sight."""

    rules: Rules = DEFAULTS
    withdrawals: Withdrawals = "ask"
    known: dict[Hashable, Drop] = field(default_factory=dict)
    live: list[Drop] = field(default_factory=list)
    held: list[Drop] = field(default_factory=list)
    kept_back: list[Drop] = field(default_factory=list)
    """Withdrawn, and counted on: too much to be taken back unasked."""
    waiting: list[Drop] = field(default_factory=list)
    """Drops that count on because the new version under their name is held."""
    accepted: set[Hashable] = field(default_factory=set)
    refused: set[Hashable] = field(default_factory=set)
    """Contents of withdrawn drops about which somebody has decided."""
    taken: list[tuple[date, Drop]] = field(default_factory=list)
    emptied: set[str] = field(default_factory=set)
    """Keys whose new version has no row, so that the one before counts on."""

    def run(self, objects: Objects, today: date = date(2024, 4, 1)) -> list[Drop]:
        """Return the drops that count, in the order of their delivery."""
        was_live, names = self.live, [set(drop.names) for drop in self.live]
        present = self._without_emptied(self._meet(objects), was_live)
        self.live, _ = _hold(present, was_live)
        taken_over = {name for drop in self.live for name in drop.names}
        decided = [d for d in self.kept_back if self.withdrawals == "keep" or d.content in self.refused]
        absent = [
            (drop, old)
            for drop, old in zip(was_live, names, strict=True)
            if drop not in present and (drop in decided or not old & taken_over)
        ]  # what counts on by a decision has no name any more
        # Its new version is held: it counts on.
        self.waiting = [drop for drop, old in absent if old & set(objects) and drop not in decided]
        withdrawn = [drop for drop, _ in absent if drop not in self.waiting]
        stay = [drop for drop in was_live if drop not in withdrawn]
        self.kept_back = self._keep_back(withdrawn, stay, today)
        self.live, self.held = _hold([*present, *self.waiting, *self.kept_back], was_live)
        for drop, again in zip(self.live, oracle.duplicates([d.lines for d in self.live], self.rules), strict=True):
            drop.clean = len(drop.lines) - again.repeated - again.replaced
        return self.live

    def lines(self) -> list[Line]:
        """Return the lines that count."""
        return oracle.live_lines([drop.lines for drop in self.live], self.rules)

    def _meet(self, objects: Objects) -> list[Drop]:
        """Return each delivery that the source holds, once; new ones get their place."""
        holders: dict[Hashable, list[str]] = {}
        for key, (_, data) in objects.items():
            holders.setdefault(content_of(data, self.rules), []).append(key)
        for content, keys in holders.items():
            if content not in self.known:
                place = min((objects[key][0], key) for key in keys)
                self.known[content] = Drop(content, place, _read(objects[keys[0]][1], self.rules))
            self.known[content].names = set(keys)
        return [self.known[content] for content in holders]

    def _without_emptied(self, present: list[Drop], was_live: list[Drop]) -> list[Drop]:
        """Leave out new versions without a row of drops that had some: their names stay with those."""
        kept = {name for drop in was_live if drop.clean and drop not in present for name in drop.names}
        self.emptied = {name for drop in present if not drop.lines for name in drop.names} & kept
        for drop in present:
            drop.names -= self.emptied if not drop.lines else set()
        return [drop for drop in present if drop.names]

    def _keep_back(self, withdrawn: list[Drop], stay: list[Drop], today: date) -> list[Drop]:
        """Return the withdrawn drops that count on; those without a line take nothing back, and weigh nothing."""
        withdrawn = [drop for drop in withdrawn if drop.lines]
        if self.withdrawals == "keep":
            return withdrawn
        asked = [drop for drop in withdrawn if drop.content not in self.accepted | self.refused]
        accepted = {drop.content for drop in withdrawn} & self.accepted
        self.accepted -= accepted  # good for one withdrawal
        self.taken = [
            (day, drop) for day, drop in self.taken if drop not in (*stay, *withdrawn)
        ]  # the others came back
        recent = [drop for day, drop in self.taken if today - day <= WINDOW]
        lines = sum(drop.clean for drop in (*asked, *recent))
        of = sum(drop.clean for drop in (*withdrawn, *recent, *stay))
        undecided = [drop for drop in asked if drop in self.kept_back]  # somebody was asked, and decides
        if self.withdrawals == "ask" and (len(asked) + len(recent) > FEW_DROPS or lines > FEW_LINES * of):
            return [drop for drop in withdrawn if drop.content not in accepted]
        if self.withdrawals == "apply":
            undecided = []
        self.taken += [(today, drop) for drop in asked if drop not in undecided]
        return [drop for drop in withdrawn if drop.content in self.refused or drop in undecided]


def content_of(data: bytes, rules: Rules = DEFAULTS) -> Hashable:
    """Return what a delivery is: its rows, where they are enough to identify it; else its bytes, gzip taken off."""
    plain = _plain(data)
    lines = _read(data, rules)
    if len(lines) >= ENOUGH or all(line.transaction for line in lines):
        return frozenset(Counter(line.whole for line in lines).items())
    return plain


def _plain(data: bytes) -> bytes:
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def _read(data: bytes, rules: Rules) -> list[Line]:
    return oracle.read_lines(_plain(data).decode("utf-8-sig"), rules)


def _hold(drops: Iterable[Drop], was_live: Sequence[Drop]) -> tuple[list[Drop], list[Drop]]:
    """Split drops into those that count and those that look like the days of another; both in order."""
    live: list[Drop] = []
    held: list[Drop] = []
    for drop in sorted(drops, key=lambda d: (d not in was_live, d.place)):
        alike = any(overlap(drop, other) or overlap(other, drop) for other in live)
        (held if alike else live).append(drop)
    return sorted(live, key=lambda d: d.place), sorted(held, key=lambda d: d.place)


def overlap(drop: Drop, other: Drop) -> bool:
    """Return whether at least half of a drop's lines without ids, of 20 or more, are in another one also."""
    own_lines, other_lines = (Counter(x.whole for x in d.lines if x.transaction is None) for d in (drop, other))
    return own_lines.total() >= ENOUGH and 2 * (own_lines & other_lines).total() >= own_lines.total()
