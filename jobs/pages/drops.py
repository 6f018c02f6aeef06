"""The page of the drops behind the figures: what was read of each, what counts, and the rules that its rows break."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from typing import Self
from urllib.parse import urlencode

from jobs.pages.choice import FROM, TO, Range, day_of
from jobs.pages.html import rendered
from jobs.pages.outside import Outside
from jobs.ports.records import DropRecord
from marts.dashboard import Dashboard

ROWS = 100


@dataclass(frozen=True)
class DropFilter:
    """Which drops a reader wants to see; empty texts choose all."""

    name: str = ""
    """Part of the name."""
    state: str = ""
    rule: str = ""
    """Part of a rule that its rows break."""
    first: str = ""
    last: str = ""

    @classmethod
    def of(cls, pairs: Mapping[str, str]) -> Self:
        """Read an address; what is no date chooses all days."""
        first, last = (text if day_of(text := pairs.get(name, "")) else "" for name in (FROM, TO))
        return cls(pairs.get("name", ""), pairs.get("state", ""), pairs.get("rule", ""), first, last)

    def query(self) -> dict[str, str]:
        """Return the values of an address that chooses these drops."""
        names = [FROM if item.name == "first" else TO if item.name == "last" else item.name for item in fields(self)]
        values = vars(self).values()
        return {name: value for name, value in zip(names, values, strict=True) if value}

    def drops(self, outside: Outside) -> list[DropRecord]:
        """Return the chosen drops, the last by name first."""
        days = Range(day_of(self.first) or date.min, day_of(self.last) or date.max)
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
    chosen: DropFilter,
    start: int,
) -> str:
    """Render some of the chosen drops, from ``start`` on."""
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
        states=sorted({drop.state for drop in outside.drops}),
        rows=rows,
        first=start + 1,
        last=start + len(rows),
        count=len(drops),
        earlier=address(max(start - ROWS, 0)) if start else "",
        later=address(start + ROWS) if start + ROWS < len(drops) else "",
    )
