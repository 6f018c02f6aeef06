"""Drops of days of a month, delivered one after the other or together."""

import random
from datetime import date
from pathlib import Path

from marts.policy import Policy
from support.kit import Place, line, sales

POLICY = Policy(max_unknown_ratio=1, equal_lines="drop")
LINES, AS_OF = 60, date(2024, 3, 31)


def place_of(folder: Path, policy: Policy = POLICY, rollup_lines: int = 60) -> Place:
    return prepared(Place(folder), policy, rollup_lines)


def prepared(place: Place, policy: Policy = POLICY, rollup_lines: int = 60) -> Place:
    place.policy, place.as_of = policy, AS_OF
    place.settings = {"limits": {"rollup_lines": rollup_lines}, "drops": {"withdrawals": "apply"}}
    place.put_dimensions()
    return place


def day_of(day: int, month: int = 3, rows: int = LINES, late: int = 0, seed: int = 0) -> str:
    """Write a drop of a day: baskets of a few people, guests, lines without an id, some lines of an earlier day."""
    pick = random.Random(100 * month + day + seed)
    lines = []
    for number in range(rows):
        when = date(2024, month, late if late and number % 10 == 0 else day)
        basket = pick.choice([f"T{pick.randrange(rows // 3)}", f"T{pick.randrange(rows // 3)}", ""])
        person, customer = pick.randrange(1, 4), pick.choice(["", *range(1, 20)])
        price, quantity = f"{pick.randrange(1, 30)}.50", pick.choice([1, 1, 2, -1])
        lines.append(line(basket, customer, person=person, day=when.isoformat(), price=price, quantity=quantity))
    return sales(*lines)


def delivered(folder: Path, drops: dict[str, str], together: bool, policy: Policy = POLICY, lines: int = 60) -> Place:
    return deliver(place_of(folder, policy, lines), drops, together)


def deliver(place: Place, drops: dict[str, str], together: bool) -> Place:
    """Build after each drop, or once after all."""
    for number, (key, text) in enumerate(drops.items()):
        place.put(key, text)
        if not together or number == len(drops) - 1:
            report = place.build()
            assert report.error is None, report.error
    return place


DROPS = {
    "sales/01.csv": day_of(1),
    "sales/05.csv": day_of(5),
    "sales/06.csv": day_of(6, late=1),
    "sales/07.csv": day_of(7, late=5, seed=1),
    "sales/06 again.csv": day_of(6, late=1).replace(",1,", ",2,", 3),  # a correction
    "sales/01 again.csv": day_of(1, rows=40),  # lines delivered twice
}
