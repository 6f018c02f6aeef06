"""Drops that change from day to day, as a source's do, and what the marts must be after each change."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from support import oracle
from support.kit import SALES, line
from support.oracle_daily import two_marts
from support.oracle_drops import Source, content_of

AS_OF = date(2024, 6, 30)
CUSTOMERS = {number: oracle.Person(f"First{number} Last{number}") for number in range(1, 61)}
TEAM = {number: oracle.Person(f"Sales{number} Person{number}") for number in range(1, 6)}

Basket = tuple[str, int | str, int, str, int]
"""A transaction: its id, customer, store, day, and sales person."""
Rows = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Drop:
    """What is under one key: the bytes as delivered, and its clean rows alone."""

    data: bytes
    clean: str


class Deliveries(ABC):
    """A source whose drops change, and a row-by-row calculation of what its marts must be."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.drops: dict[str, Drop] = {}
        self.deleted: dict[str, Drop] = {}
        """What was under keys that are gone, and may come back; nobody has decided about it."""
        self.before: dict[str, Drop] = {}
        """What a version without a row stands for."""
        self.source = Source()
        """What counts, drop by drop."""
        self.circle: tuple[list[int], int, int, list[int]] | None = None
        """People, store, day and sales people of the lines of a drop; any if None."""
        self.baskets: list[Basket] = []
        """Lines that were sold, for files that cut their baskets, and refunds that name them."""
        self.elsewhere: set[str] = set()
        """Keys that hold, since the last change, rows of another key, or of one that was deleted."""
        self.ends = {0}
        """How a build may end that meets no fault: 65 where it is the first to ask about drops that are gone."""
        self.rows: Rows = {}
        self.created = 0

    @abstractmethod
    def upload(self, key: str, data: bytes) -> None:
        """Write an object."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete an object."""

    @abstractmethod
    def listed(self) -> dict[str, datetime]:
        """Return when each object was written, as the store has it."""

    @abstractmethod
    def command(self, *words: str) -> str:
        """Run a command as its user would, and return its output."""

    def put(self, key: str, drop: Drop) -> None:
        """Deliver a drop; a second later than the one before, as far as S3 can measure."""
        self.upload(key, drop.data)
        self.drops[key] = drop
        self.deleted.pop(key, None)
        self.before.pop(key, None)

    def remove(self, key: str) -> None:
        self.delete(key)
        drop = self.drops.pop(key)
        self.deleted[key] = self.before.pop(key, drop)

    def new_drop(self, fewest: int = 60, most: int = 240, any_people: bool = False) -> Drop:
        """Make a drop, some of its lines broken; most are of few people, one store, day and sales person."""
        pick = self.random
        people, team = pick.sample(sorted(CUSTOMERS), 4), [pick.choice(sorted(TEAM))]
        self.circle = (people, pick.randrange(121, 124), pick.randrange(180), team)
        if any_people or pick.random() < 0.3:
            self.circle = None
        rows = [self._row() for _ in range(pick.randrange(fewest, most))]
        broken = [row.replace("2024-", "2024/", 1) for row in (self._row() for _ in range(pick.randrange(3)))]
        mixed = [*rows, *broken]
        pick.shuffle(mixed)
        in_order = [row for row in mixed if row not in broken]
        return Drop("\n".join([SALES, *mixed, ""]).encode(), "\n".join([SALES, *in_order, ""]))

    def _row(self) -> str:
        """Make a line: of a basket of its own, or of one that an earlier file has cut, or a refund that names one."""
        pick = self.random
        of_earlier = bool(self.baskets) and not self.circle and pick.random() < 0.15
        basket = pick.choice(self.baskets[-2000:]) if of_earlier else self._basket()
        self.baskets.append(basket)
        transaction, customer, store, day, person = basket
        return line(
            transaction=transaction,
            customer=customer,
            store=store,
            product=pick.choice(["tea", "salt", "rice"]),
            day=day,
            person=person,
            price=str(Decimal(pick.randrange(1, 99999)) / 100),
            quantity=pick.choice([1, 2, 3, -1]),
        )

    def _basket(self) -> Basket:
        """Make a basket; some are of guests, and some have a word where an id should be."""
        pick = self.random
        guest, nameless = pick.random() < 0.05, pick.random() < 0.05
        transaction = pick.choice(["", "0", "n/a", "Unknown"]) if nameless else f"T{pick.randrange(3000)}"
        anybody = (sorted(CUSTOMERS), pick.randrange(121, 124), pick.randrange(180), sorted(TEAM))
        people, store, first, team = self.circle or anybody
        customer = pick.choice(["", 0, -1]) if guest else pick.choice(people)
        day = (date(2024, 1, 1) + timedelta(days=first)).isoformat()
        return transaction, customer, store, day, pick.choice(team)

    def put_dimensions(self) -> None:
        people = "customer_id,first_name,last_name,address,pincode,phone_number,customer_joining_date\n"
        people += "".join(f"{n},First{n},Last{n},,,,\n" for n in CUSTOMERS)
        team = "id,first_name,last_name,manager_id,is_manager,address,pincode,joining_date\n"
        team += "".join(f"{n},Sales{n},Person{n},,N,,,\n" for n in TEAM)
        stores = "id,address,store_pincode,store_manager_name,store_opening_date,reviews\n"
        stores += "".join(f"{n},,,,,\n" for n in range(121, 124))
        for key, text in (("customers/c.csv", people), ("sales_team/t.csv", team), ("stores/s.csv", stores)):
            self.upload(key, text.encode())

    def begin(self) -> None:
        """Deliver what there is on the first day: some drops of many lines, and some of a few."""
        for number in range(9):
            self.put(
                f"sales/2023/{number:04d}.csv", self.new_drop(3, 9) if number % 2 else self.new_drop(any_people=True)
            )
        self.expect()

    def change(self, what: str = "", key: str = "") -> str:
        """Let the day bring something, to one of the drops; return what it was."""
        pick = self.random
        what = what or pick.choice(self._choices())
        self.created += 1
        new = f"sales/2024/{self.created:04d}.csv"
        key = key or (pick.choice(sorted(self.drops)) if self.drops else new)
        happens: dict[str, Callable[[], None]] = {
            "new": lambda: self.put(new, self.new_drop()),
            "small": lambda: self.put(new, self.new_drop(3, 9)),
            "replaced": lambda: self.put(key, self.new_drop()),
            "put again": lambda: self._put_again(key),
            "copied": lambda: self.put(new, self.drops[key]),
            "saved again": lambda: self.put(new, _saved_again(self.drops[key])),
            "no rows": lambda: self._fail(key),
            "moved": lambda: self._move(key, new),
            "withdrawn": lambda: self.remove(key),
            "expired": lambda: self.remove(self._small()[0]),
            "emptied": self._empty,
            "put back": self._put_back,
            "withdrawal accepted": lambda: self._decide("accept"),
            "withdrawal refused": lambda: self._decide("refuse"),
        }
        self.ends, self.elsewhere = {0}, set()
        happens[what]()
        self.expect()
        return what

    def _choices(self) -> list[str]:
        """Return what may happen now; twice what happens often."""
        if not self.drops:
            return ["put back"] if self.deleted else ["new"]
        choices = ["new", "new", "small", "small", "replaced", "put again", "copied", "moved", "saved again", "no rows"]
        if len(self.drops) > 6:
            choices += ["withdrawn", "emptied", *(["expired"] * 2 if self._small() else [])]
        if self.asked:
            choices += ["put back", "withdrawal refused", *["withdrawal accepted"] * 3]
        return choices

    def _small(self) -> list[str]:
        """Return the keys of drops of a few lines, the oldest first: a lifecycle rule takes those."""
        return [key for key in sorted(self.drops) if self.drops[key].clean.count("\n") < 10]

    def _empty(self) -> None:
        for key in list(self.drops):
            self.remove(key)

    def _put_back(self) -> None:
        self.elsewhere = set(self.deleted)
        for key, drop in list(self.deleted.items()):
            self.put(key, drop)

    def _move(self, key: str, new: str) -> None:
        drop = self.drops[key]
        self.elsewhere = {new}
        self.put(new, drop)
        self.remove(key)
        if self.deleted[key] is drop:
            del self.deleted[key]

    def _put_again(self, key: str) -> None:
        stands_for = self.before.get(key)
        self.put(key, self.drops[key])
        if stands_for:
            self.before[key] = stands_for

    def _fail(self, key: str) -> None:
        """Let the program fail that writes a drop: it leaves the header."""
        stands_for = self.before.get(key, self.drops[key])
        header = f"{SALES}\n"
        self.put(key, Drop(header.encode(), header))
        self.before[key] = stands_for

    @property
    def asked(self) -> list[str]:
        """Return the keys of drops that are gone, count on, and wait for somebody to decide."""
        kept_back = {drop.content for drop in self.source.kept_back}
        return sorted(key for key, drop in self.deleted.items() if content_of(drop.clean.encode()) in kept_back)

    @property
    def only_copies(self) -> bool:
        """Return whether drops count whose objects are gone, or hold another version that does not count.

        A state that is lost then cannot be made again.
        """
        return bool(self.source.kept_back or self.source.waiting or self.source.emptied)

    def _decide(self, how: str) -> None:
        """Decide about all drops that wait for it."""
        keys = self.asked
        self.command("withdraw", how, "--why", "a campaign")
        decided = self.source.accepted if how == "accept" else self.source.refused
        decided |= {content_of(self.deleted.pop(key).clean.encode()) for key in keys}

    def expect(self) -> None:
        """Calculate, row by row, what the marts must be now; readers may see it from now on."""
        times = self.listed()
        before, emptied = {drop.content for drop in self.source.kept_back}, self.source.emptied
        self.source.run({key: (times[key], drop.clean.encode()) for key, drop in self.drops.items()})
        asked = {drop.content for drop in self.source.kept_back} - before - self.source.refused
        self.ends |= {65} if asked or self.source.emptied - emptied else set()
        lines = self.source.lines()
        self.rows = two_marts(lines, CUSTOMERS, TEAM, AS_OF)


def _saved_again(drop: Drop) -> Drop:
    """Return the same rows under other bytes, as a spreadsheet saves them."""
    if b"\r\n" in drop.data:  # it was saved before
        return drop
    return Drop(b"\xef\xbb\xbf" + drop.data.replace(b"\n", b"\r\n"), drop.clean.replace("\n", "\r\n"))
