"""The page of the drops behind the figures: what was read of each, what counts, and the rules that its rows break."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Self
from urllib.parse import urlencode

from jobs.pages.choice import FROM, TO, Range, day_of, in_order
from jobs.pages.html import rendered
from jobs.pages.outside import Outside
from jobs.ports.records import DropRecord
from marts.dashboard import Dashboard

ROWS = 100
_KNOWN = ("name", "state", "rule", FROM, TO, "start")


@dataclass(frozen=True)
class DropFilter:
    """Which drops a reader wants to see; empty texts choose all."""

    name: str = ""
    """Part of the name."""
    state: str = ""
    rule: str = ""
    """Part of a rule that its rows break."""
    first: date | None = None
    last: date | None = None

    @classmethod
    def of(cls, pairs: Sequence[tuple[str, str]], states: Collection[str]) -> tuple[Self, list[str]]:
        """Read an address. Return what is chosen, and a sentence for each value that is taken out."""
        own, remarks = dict(pairs), list[str]()
        first, last = (day_of(own.get(name, "")) for name in (FROM, TO))
        for name, day in ((FROM, first), (TO, last)):
            remarks += [f"{name} is not a date: it is ignored."] if own.get(name) and not day else []
        if first and last:
            first, last, more = in_order(first, last)
            remarks += more
        state = own.get("state", "")
        if state and state not in states:
            remarks.append("No drop has this state: it is ignored.")
            state = ""
        if any(name not in _KNOWN for name in own):
            remarks.append("The address has a name that is not known: it is ignored.")
        return cls(own.get("name", ""), state, own.get("rule", ""), first, last), remarks

    def query(self) -> dict[str, str]:
        """Return the values of an address that chooses these drops."""
        values = {"name": self.name, "state": self.state, "rule": self.rule, FROM: self.first, TO: self.last}
        return {name: str(value) for name, value in values.items() if value}

    def drops(self, outside: Outside) -> list[DropRecord]:
        """Return the chosen drops, the last by name first."""
        days = Range(self.first or date.min, self.last or date.max)
        own = [drop for drop in outside.of(days).drops if self._has(drop, outside)]
        return sorted(own, key=lambda drop: (drop.object_key, drop.state == "live", drop.modified), reverse=True)

    def _has(self, drop: DropRecord, outside: Outside) -> bool:
        if self.state not in ("", drop.state) or self.name.lower() not in drop.object_key.lower():
            return False
        rules = outside.broken.get(drop.delivery_id, ())
        return not self.rule or any(self.rule.lower() in item.rule.lower() for item in rules)


def drops_page(
    here: str,
    pages: Sequence[tuple[str, str]],
    board: Dashboard,
    board_address: str,
    outside: Outside,
    pairs: Sequence[tuple[str, str]],
    start: int,
) -> str:
    """Render some of the drops that an address chooses, from ``start`` on."""
    states = sorted({drop.state for drop in outside.drops})
    chosen, remarks = DropFilter.of(pairs, states)
    drops = chosen.drops(outside)
    start = min(start, max(len(drops) - 1, 0) // ROWS * ROWS)
    rows = [(drop, outside.broken.get(drop.delivery_id, ())) for drop in drops[start : start + ROWS]]

    def address(first: int) -> str:
        query = urlencode(chosen.query() | ({"start": str(first)} if first else {}))
        return f"{here}?{query}" if query else here

    return rendered(
        "drops.html.j2",
        here,
        pages,
        board=board,
        board_address=board_address,
        chosen=chosen,
        states=states,
        remarks=remarks,
        rows=rows,
        first=start + 1,
        last=start + len(rows),
        count=len(drops),
        earlier=address(max(start - ROWS, 0)) if start else "",
        later=address(start + ROWS) if start + ROWS < len(drops) else "",
    )
