"""A day on top of a history: only customers that differ are computed again, and the result equals a rebuild."""

import random
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.kit import Place, line, marts, sales

from jobs.adapters.store.open import StoreAddress
from jobs.config.settings import S3
from jobs.steps.mart_parts import MartPart, Part
from jobs.steps.materialize import Inputs, MartRows, Size, has_outgrown, plan_tasks
from marts.compute.highlights import Figures
from marts.packs import shipped
from marts.policy import Policy

FIRST = date(2024, 12, 1)
PEOPLE = range(1, 121)
FINE = Policy(max_unknown_ratio=1, own=(("inactive_after_days", 60),))
HEADER = "customer_id,first_name,last_name,address,pincode,phone_number,customer_joining_date"

SMALL = {"finish_rows": 120, "rollup_lines": 150}
"""So that there are some ranges of customers, and some parts of a month."""


@dataclass
class History:
    """A shop: its drops grow, change and vanish; what is built day by day is compared with a rebuild."""

    folder: Path
    random: random.Random
    as_of: date = date(2025, 3, 31)
    people: dict[int, str] = field(default_factory=lambda: {n: f"{n},First{n},Last{n},Road {n},,," for n in PEOPLE})
    drops: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        small = {"limits": SMALL, "drops": {"withdrawals": "apply"}}
        self.days, self.anew = (Place(self.folder / name, policy=FINE, settings=small) for name in ("days", "anew"))
        for place in (self.days, self.anew):
            place.put_dimensions()
        self.deliver_people()
        for _ in range(3):
            self.deliver(200, PEOPLE)

    def put(self, key: str, text: str) -> None:
        for place in (self.days, self.anew):
            place.put(key, text)

    def deliver(self, lines: int, people: Any) -> None:
        self.drops.append(f"sales/{len(self.drops):03d}.csv")
        self.put(self.drops[-1], self.some(lines, people))

    def deliver_people(self) -> None:
        self.put("customers/customers.csv", "\n".join([HEADER, *self.people.values(), ""]))

    def some(self, lines: int, people: Any) -> str:
        return sales(*(self.line(self.random.choice(list(people))) for _ in range(lines)))

    def line(self, customer: int) -> str:
        day = FIRST + timedelta(days=self.random.randrange((self.as_of - FIRST).days))
        price, quantity = f"{self.random.randrange(1, 9999) / 100:.2f}", self.random.choice([1, 2, 3, -1])
        return line(f"T{self.random.randrange(10**6)}", customer, day=day.isoformat(), price=price, quantity=quantity)

    def day(self) -> None:
        """Let something happen, as things happen."""
        few = self.random.sample(PEOPLE, 4)
        match self.random.randrange(6):
            case 0:  # somebody moves, somebody is new, somebody is forgotten
                self.people[few[0]] = f"{few[0]},First,Last,Moved {self.random.random()},,,"
                self.people[few[1]] = f"{few[1]},New,Name,,,,"
                self.people.pop(few[2], None)
                self.deliver_people()
            case 1:
                self.put(self.random.choice(self.drops[3:] or self.drops[:1]), self.some(5, few))
            case 2 if len(self.drops) > 3:
                removed = self.drops.pop()
                for place in (self.days, self.anew):
                    (place.source / removed).unlink()
            case 3:
                self.as_of += timedelta(days=self.random.choice([1, 1, 7, -3]))
            case _:
                self.deliver(6, few)
        self.as_of += timedelta(days=1)

    def build(self) -> Any:
        """Build, after the first time compare with a rebuild; return the report of the build of the day."""
        report = self.days.build(as_of=self.as_of)
        assert report.error is None, report.error
        if self.days.runs == 1:
            return report
        anew = self.anew.build(as_of=self.as_of, rebuild=True)
        assert self.days.marts() == self.anew.marts()
        assert (report.highlights, report.newest, report.unknown) == (anew.highlights, anew.newest, anew.unknown)
        assert [(m.rows, m.total) for m in report.marts] == [(m.rows, m.total) for m in anew.marts]
        return report

    def flags(self) -> list[str]:
        """The arguments of `marts`, for the place of the days."""
        config, policy = self.folder / "marts.toml", self.folder / "policy.toml"
        limits = "".join(f"{name} = {value}\n" for name, value in SMALL.items())
        config.write_text(f'[drops]\nwithdrawals = "apply"\n[limits]\n{limits}')
        policy.write_text("max_unknown_ratio = 1\ninactive_after_days = 60\n")
        return [*self.days.flags, "--config", str(config), "--policy", str(policy)]

    def files(self, pattern: str) -> set[Path]:
        return set((self.days.folder / "state" / "marts" / "customers").glob(pattern))


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path, random.Random(1))


@pytest.mark.parametrize(("seed", "together"), [(1, 2)])
def test_days_of_all_kinds_give_what_a_rebuild_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, together: int
) -> None:
    monkeypatch.setattr("jobs.steps.materialize._TOGETHER", together)
    history = History(tmp_path, random.Random(seed))
    history.build()
    for _ in range(6):
        history.day()
        history.build()
    assert len(history.files("*/patch-*")) > 3


def test_a_day_makes_only_the_customers_that_differ(history: History) -> None:
    history.build()
    parts = history.files("*/part-*")
    history.deliver(3, [7])
    history.build()
    assert history.files("*/part-*") == parts
    (patch,) = history.files("*/patch-*")
    assert set(pq.read_table(patch)["customer_id"].to_pylist()) == {7}


def test_a_day_without_news_writes_no_rows(history: History) -> None:
    history.build()
    parts = history.files("*/*.parquet")
    history.as_of += timedelta(days=1)
    history.put("stores/stores.csv", "id,address\n121,\n122,Moved\n")
    history.build()
    assert len(history.files("*/done.json")) == 2
    inactive = {path for path in history.files("*/*.parquet") if path not in parts}
    assert all("part-" not in path.name for path in inactive)


def test_a_patch_that_grows_becomes_a_part_of_its_own(history: History) -> None:
    history.build()
    before = history.files("*/part-*")
    for first in range(1, 40, 13):
        for customer in range(first, first + 13):
            history.deliver(2, [customer])
        history.build()
    assert history.files("*/part-*") > before


def test_a_mart_that_grows_at_once_is_divided_by_its_new_rows(history: History) -> None:
    history.build()
    before = history.files("*/part-*")
    history.deliver(3000, range(1, 1000))
    history.build()
    assert len(history.files("*/part-*") - before) > 2 * len(before)


@pytest.mark.parametrize(
    ("parts", "split", "facts", "outgrown"),
    [
        (3, 900_000, 3_500_000, False),
        (3, 900_000, 3_700_000, True),
        (3, 3_700_000, 9_000_000, False),  # there are no more keys to divide
        (40, 900_000, 9_000_000, False),  # each part still reads few
        (3, 0, 3_500_000, False),  # by an older version, which did not record it
        (3, 0, 3_700_000, True),
    ],
)
def test_a_mart_whose_own_rows_stay_few_is_divided_by_the_rows_that_it_reads(
    parts: int, split: int, facts: int, outgrown: bool
) -> None:
    before = replace(rows_in_parts(parts), fact_rows=900_000, split_rows=split)
    assert has_outgrown(before, Size(300_000, facts)) == outgrown


@pytest.mark.parametrize(
    ("facts", "rows", "per_task"),
    [(0, 0, 300_000), (900, 900, 300_000), (900, 300, 900_000), (90_000, 300, 1_200_000), (300, 900, 300_000)],
)
def test_a_mart_that_is_split_again_reads_more_rows_per_task_the_fewer_it_has(
    facts: int, rows: int, per_task: int
) -> None:
    """Each task opens all files: as few as have the rows that one should compute, up to four times as many facts."""
    before = replace(rows_in_parts(1), fact_rows=facts)
    before = replace(before, finished=(replace(before.finished[0], rows=rows),))
    assert Size(300_000, 10**6).split_like(before).per_task == per_task


def rows_in_parts(count: int) -> MartRows:
    """Return a mart of one row per part."""
    parts = [MartPart((Part(f"p{n}", n, n + 1),), 1, 0, (), Figures()) for n in range(count)]
    return MartRows("customers", Inputs("rules", (), (), date(2024, 1, 1)), tuple(parts))


@pytest.mark.parametrize(("changed", "tasks"), [(0, 2), (300_000, 2), (12_000_000, 10), (10**9, 13)])
def test_many_parts_are_patched_by_as_many_tasks_as_the_rows_that_differ_need(changed: int, tasks: int) -> None:
    """Each task opens all files of facts."""
    pack = shipped("retail")
    before, size = rows_in_parts(100), Size(300_000, 10**9, changed)
    of = replace(before.inputs, as_of=date(2024, 1, 2))
    state = StoreAddress("state", S3())
    planned = plan_tasks(state, pack, pack.marts["customers"], of, before, Policy(), size, {})
    assert len(planned) == tasks
    assert tuple(item for task in planned for item in task.previous.parts) == before.finished


def test_a_customer_who_leaves_has_no_rows(history: History) -> None:
    history.deliver(4, [5000])
    history.build()
    for place in (history.days, history.anew):
        (place.source / history.drops[-1]).unlink()
    history.build()
    assert not [row for row in history.days.mart("customers") if row[0] == 5000]


def test_another_policy_makes_everything_anew(history: History) -> None:
    history.build()
    parts = history.files("*/part-*")
    for place in (history.days, history.anew):
        place.policy = FINE.model_copy(update={"own": (("inactive_after_days", 30),)})
    history.build()
    assert len(history.files("*/part-*")) == 2 * len(parts)
    assert not history.files("*/patch-*")


def test_rows_that_are_lost_or_damaged_are_made_again(history: History) -> None:
    history.build()
    history.deliver(3, [7])
    history.days.build(as_of=history.as_of)
    damages: tuple[tuple[str, bytes | None], ...] = (("instead-*", None), ("patch-*", b"junk"), ("part-*", b"junk"))
    for customer, (what, junk) in enumerate(damages, 8):
        paths = history.files(f"*/{what}")
        assert paths
        for path in paths:
            path.unlink() if junk is None else path.write_bytes(junk)
        history.deliver(3, [customer])
        history.build()


def test_rows_below_a_patch_are_no_waste(history: History) -> None:
    history.build()
    for customer in (7, 8, 9):
        history.deliver(3, [customer])
        history.build()
    parts = history.files("*/part-*")
    marts("vacuum", *history.flags())
    assert history.files("*/part-*") == parts
    assert len(history.files("*/patch-*")) == 2
    history.deliver(3, [10])
    history.build()
    assert history.files("*/part-*") == parts


def test_who_is_erased_is_in_no_row_below_a_patch(history: History) -> None:
    history.build()
    history.deliver(3, [7])
    history.build()
    marts("erase", "customer", "9", "--yes", "--why", "request", *history.flags())
    left = [path for path in history.files("*/*.parquet") if 9 in pq.read_table(path)["customer_id"].to_pylist()]
    assert not left
    assert history.days.build(as_of=history.as_of).error is None
    rows = history.days.mart("customers")
    assert 7 in {row[0] for row in rows}
    assert 9 not in {row[0] for row in rows}
