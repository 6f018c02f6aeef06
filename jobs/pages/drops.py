"""The page of the drops behind the figures: what was read of each, what counts, and the rules that its rows break."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from jobs.pages.html import rendered
from jobs.pages.publication import Outside
from jobs.ports.records import DropRecord
from marts.dashboard import Dashboard

ROWS = 100
Chosen = Mapping[str, str]


def chosen_drops(outside: Outside, chosen: Chosen) -> list[DropRecord]:
    """Return the drops whose name contains a text, and that have a state; the last by name first."""
    name, state = chosen.get("name", "").lower(), chosen.get("state", "")
    own = [d for d in outside.all_drops if name in d.object_key.lower() and state in ("", d.state)]
    return sorted(own, key=lambda drop: (drop.object_key, drop.state == "live", drop.modified), reverse=True)


def drops_page(
    here: str,
    pages: Sequence[tuple[str, str]],
    board: Dashboard,
    board_address: str,
    outside: Outside,
    chosen: Chosen,
    start: int,
) -> str:
    """Render some of the chosen drops, from ``start`` on."""
    drops = chosen_drops(outside, chosen)
    start = min(start, max(len(drops) - 1, 0) // ROWS * ROWS)
    rows = [(drop, outside.broken.get(drop.delivery_id, ())) for drop in drops[start : start + ROWS]]

    def address(first: int) -> str:
        query = urlencode(
            {**{name: text for name, text in chosen.items() if text}, **({"start": first} if first else {})}
        )
        return f"{here}?{query}" if query else here

    return rendered(
        "drops.html.j2",
        here,
        pages,
        board=board,
        board_address=board_address,
        wanted=chosen.get("name", ""),
        state=chosen.get("state", ""),
        states=sorted({drop.state for drop in outside.all_drops}),
        rows=rows,
        first=start + 1,
        last=start + len(rows),
        count=len(drops),
        earlier=address(max(start - ROWS, 0)) if start else "",
        later=address(start + ROWS) if start + ROWS < len(drops) else "",
    )
