"""A domain without facts: employees, of whom snapshots and logs of changes arrive; its tables have their history."""

import os
import random
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from packs.conftest import Bucket
from support.kit import marts
from support.servers import S3Server

from jobs.adapters.warehouse.open import open_warehouse
from jobs.config.load import load
from jobs.report.run_report import RunReport

pytestmark = [pytest.mark.usefixtures("small_builds")]
PACK = Path(__file__).parent / "people"
EVER, FOREVER = date(1900, 1, 1), date(9999, 12, 31)
COLUMNS = ("employee_id", "name", "department", "title", "salary", "changed_on")
HEADER = ",".join(COLUMNS) + "\n"
Person = tuple[str, str, str | None, Decimal | None, date | None]
"""Name, department, title, salary, since when."""


@dataclass(frozen=True)
class Drop:
    """A drop as it is delivered."""

    key: str
    day: date
    rows: dict[int, Person] = field(default_factory=dict)
    deleted: frozenset[int] = frozenset()
    is_log: bool = False
    bad: frozenset[int] = frozenset()
    """Employees whose rows are wrong."""
    nameless: bool = False
    """Whether a row has no readable key."""

    @property
    def text(self) -> str:
        def line(number: object, person: Person) -> str:
            return ",".join("" if value is None else str(value) for value in (number, *person))

        nobody: Person = ("", "", None, None, None)
        lines = [line(number, person) for number, person in self.rows.items()]
        lines += [line(number, nobody) for number in self.bad]
        lines += [line("x", ("No", "Key", None, None, None))] if self.nameless else []
        if not self.is_log:
            return HEADER + "".join(f"{text}\n" for text in lines)
        lines = [f"u,{text}" for text in lines] + [f"d,{line(number, nobody)}" for number in self.deleted]
        return f"op,{HEADER}" + "".join(f"{text}\n" for text in lines)


class People:
    """Drops of employees, and the tables built from them."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / name
        self.flags = ["--config", str(self.folder / "marts.toml")]
        self._stamp = datetime(2024, 1, 1, tzinfo=UTC)
        (self.folder / "drops").mkdir(parents=True)
        self._write({"source": self.folder / "drops", "target": f"duckdb://{self.folder}/m.duckdb"})

    def _write(self, places: Mapping[str, object]) -> None:
        (self.folder / "policy.toml").write_text("max_bad_ratio = 1.0\n")
        places = {**places, "pack": PACK, "policy": self.folder / "policy.toml"}
        (self.folder / "marts.toml").write_text("".join(f'{name} = "{value}"\n' for name, value in places.items()))

    def put(self, drop: Drop) -> None:
        path = self.folder / "drops" / drop.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(drop.text)
        self._stamp += timedelta(hours=1)
        os.utime(path, (self._stamp.timestamp(),) * 2)

    def build(self, *more: str, as_of: date = date(2024, 12, 31), code: int | None = 0) -> RunReport:
        done = marts("build", *self.flags, "--as-of", str(as_of), "--json", *more, code=code)
        return RunReport.model_validate_json(done.stdout)

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        settings = load(str(self.folder / "marts.toml"), {})
        (mart,) = (mart for mart in settings.domain.marts.values() if mart.table == table)
        names = ", ".join(column.name for column in mart.columns)
        with closing(open_warehouse(settings.target or "", settings.mysql, settings.domain, read_only=True)) as opened:
            rows = opened.execute(f"SELECT {names} FROM {table} ORDER BY {', '.join(mart.key)}")
        flags = [number for number, column in enumerate(mart.columns) if column.type == "flag"]
        return [tuple(bool(v) if n in flags else v for n, v in enumerate(row)) for row in rows]

    @property
    def tables(self) -> tuple[list[Any], list[Any]]:
        return self.rows("employee_history"), self.rows("headcount")


class InS3(People):
    """Drops and state in a bucket, tables in a database server."""

    def __init__(self, folder: Path, name: str, s3: S3Server, bucket: str) -> None:
        self.folder, self.s3, self.bucket = folder / name, s3, bucket
        self.flags = ["--config", str(self.folder / "marts.toml")]
        self.folder.mkdir()
        self._write({"source": f"s3://{bucket}/in", "state": f"s3://{bucket}/state"})

    def put(self, drop: Drop) -> None:
        self.s3.client().put_object(Bucket=self.bucket, Key=f"in/{drop.key}", Body=drop.text.encode())


@pytest.fixture
def anywhere(bucket: Bucket | None, tmp_path: Path) -> People:
    return InS3(tmp_path, "remote", bucket.s3, bucket.name) if bucket else People(tmp_path, "here")


@dataclass(frozen=True)
class Version:
    """A stretch of days in which the followed columns of an employee stay the same."""

    number: int
    person: Person
    start: date
    seen: date
    end: date = FOREVER
    reason: str | None = None


def state_after(state: dict[int, Person], drop: Drop) -> dict[int, Person]:
    """Apply a drop to the state before it."""
    if drop.is_log:
        return {number: person for number, person in {**state, **drop.rows}.items() if number not in drop.deleted}
    kept = {number: person for number, person in state.items() if drop.nameless or number in drop.bad}
    return {**kept, **drop.rows}


def versions_of(drops: list[Drop], as_of: date) -> list[Version]:
    """Follow each employee from day to day."""
    state: dict[int, Person] = {}
    open_: dict[int, Version] = {}
    closed: list[Version] = []
    last = EVER
    for day in sorted({drop.day for drop in drops if drop.day <= as_of}):
        for drop in drops:
            state = state_after(state, drop) if drop.day == day else state
        for number in sorted(open_.keys() | state.keys()):
            was, now = open_.get(number), state.get(number)
            if was and now and was.person[:3] == now[:3]:
                open_[number] = replace(was, person=now, seen=day)
                continue
            since = now[4] if now else None
            start = since if since and was and last < since <= day else day
            if was:
                closed.append(replace(open_.pop(number), end=start, reason="CHANGED" if now else "DELETED"))
            if now:
                open_[number] = Version(number, now, start, day)
        last = day
    return sorted([*closed, *open_.values()], key=lambda version: (version.number, version.start))


def expected(drops: list[Drop], as_of: date = date(2024, 12, 31)) -> tuple[list[Any], list[Any]]:
    """Compute both tables, version by version and month by month."""
    versions = versions_of(drops, as_of)
    history: list[Any] = [(-1, -1, "UNKNOWN", "UNKNOWN", None, None, EVER, FOREVER, True, None, EVER, FOREVER, None)]
    for place, item in enumerate(versions):
        first = place == 0 or versions[place - 1].number != item.number
        final = place + 1 == len(versions) or versions[place + 1].number != item.number
        history.append(
            (
                item.number * 10**8 + int(f"{item.start:%Y%m%d}"),
                item.number,
                *item.person[:4],
                item.start,
                item.end,
                item.end == FOREVER,
                item.reason,
                EVER if first else item.start,
                FOREVER if final else versions[place + 1].start,
                item.seen,
            )
        )
    headcount: list[Any] = []
    month = min((item.start for item in versions), default=as_of).replace(day=1)
    while month <= as_of:
        following = (month + timedelta(days=31)).replace(day=1)
        day = min(following - timedelta(days=1), as_of)
        here = [item for item in versions if item.start <= day < item.end]
        for department in sorted({item.person[1] for item in here}):
            firsts: dict[int, date] = {}
            for item in versions:
                if item.person[1] == department:
                    firsts.setdefault(item.number, item.start)
            joined = sum(month <= start < following for start in firsts.values())
            count = sum(item.person[1] == department for item in here)
            headcount.append((f"{month:%Y-%m}", department, count, joined))
        month = following
    return sorted(history, key=lambda row: (row[1], row[6])), headcount


def random_drop(chance: random.Random, number: int) -> Drop:
    """Return a drop of a random day, whole or a log, some with bad rows."""
    day = date(2024, 1, 1) + timedelta(days=chance.randrange(150))
    people: dict[int, Person] = {
        employee: (
            chance.choice(["Ada", "Bo"]),
            chance.choice(["Sales", "Legal"]),
            chance.choice([None, "Lead"]),
            chance.choice([None, Decimal("100.50"), Decimal(200)]),
            chance.choice([None, None, day - timedelta(days=chance.randrange(60))]),
        )
        for employee in range(1, 7)
        if chance.random() < 0.7
    }
    people = people or {1: ("Cy", "Legal", None, None, None)}
    named = frozenset(employee for employee in range(1, 7) if employee not in people and chance.random() < 0.4)
    if chance.random() < 0.4:
        return Drop(f"employees/{day}/{number:02d}.csv", day, people, named, is_log=True)
    bad = named if chance.random() < 0.5 else frozenset[int]()
    return Drop(f"employees/{day:%Y/%m/%d}/{number:02d}.csv", day, people, bad=bad, nameless=chance.random() < 0.2)


def test_drops_in_any_order_give_the_history_that_all_at_once_give(anywhere: People) -> None:
    """Late snapshots, logs, bad rows, deletions: incremental equals a rebuild and a calculation row by row."""
    chance, drops = random.Random(11), list[Drop]()
    for number in range(6):
        for place in range(2):
            drops.append(random_drop(chance, number * 2 + place))
            anywhere.put(drops[-1])
        anywhere.build(code=None)
        assert anywhere.tables == expected(drops)
    before = expected(drops)
    early = date(2024, 3, 10)
    anywhere.build("--rebuild", as_of=early)
    assert anywhere.tables == expected(drops, early)
    anywhere.build("--rebuild")
    assert anywhere.tables == before
    someone = before[0][-1][1]
    assert "erased" in marts("erase", "person", str(someone), *anywhere.flags, "--why", "request 1", "--yes").stdout
    history, headcount = before
    assert anywhere.tables == ([row for row in history if row[1] != someone], headcount)
    anywhere.build("--rebuild")
    without = expected([_without(drop, someone) for drop in drops])
    assert anywhere.tables == without
    assert without[1] == headcount
    drops.append(Drop("employees/2024-12-01/z.csv", date(2024, 12, 1), {2: ("Di", "Legal", None, None, None)}))
    anywhere.put(drops[-1])
    anywhere.build()
    assert anywhere.tables == expected([_without(drop, someone) for drop in drops])
    marts("rollback", *anywhere.flags, "--why", "try")
    assert anywhere.tables == without


def test_the_only_copy_of_a_drop_forgets_an_erased_person_in_quarantine(tmp_path: Path) -> None:
    """The bad row keeps its entity in the history, under the id that replaces theirs."""
    people = People(tmp_path, "here")
    drops = [_snapshot("2024-01-01", "Ada", "Bo"), _snapshot("2024-02-01", "Ada", bad=frozenset({2}))]
    for drop in drops:
        people.put(drop)
    people.build()
    (people.folder / "drops" / drops[1].key).unlink()
    people.build(code=65)
    marts("erase", "person", "2", *people.flags, "--why", "request 2", "--yes")
    files = people.folder.rglob("quarantine/**/*.parquet")
    keys = [key for path in files for key in pq.ParquetFile(path).read()["key"].to_pylist()]
    assert keys == ["-1001"]
    people.build(code=None)
    assert people.tables == expected([_without(drop, 2) for drop in drops])


def _without(drop: Drop, someone: int) -> Drop:
    """Return a drop in which the first erased person has no personal data."""
    rows = {
        -1001 if number == someone else number: (
            ("(erased)", *person[1:3], None, person[4]) if number == someone else person
        )
        for number, person in drop.rows.items()
    }
    deleted, bad = (frozenset(-1001 if n == someone else n for n in numbers) for numbers in (drop.deleted, drop.bad))
    return replace(drop, rows=rows, deleted=deleted, bad=bad)


@pytest.mark.parametrize("seed", range(6))
def test_any_set_of_snapshots_gives_the_history_of_the_calculation(tmp_path: Path, seed: int) -> None:
    chance, people = random.Random(seed), People(tmp_path, "here")
    drops = [random_drop(chance, number) for number in range(8)]
    for drop in drops:
        people.put(drop)
    people.build(code=None)
    assert people.tables == expected(drops)


def _snapshot(day: str, *names: str, **more: Any) -> Drop:
    rows: dict[int, Person] = {n: (name, "Sales", None, None, None) for n, name in enumerate(names, 1)}
    return Drop(f"employees/{day}.csv", date.fromisoformat(day), rows, **more)


def test_a_new_snapshot_continues_the_history_and_a_late_one_begins_at_its_day(tmp_path: Path) -> None:
    people = People(tmp_path, "here")
    drops = [_snapshot(f"2024-0{month}-01", "Ada", *["Bo"] * (month % 2)) for month in (1, 3, 5)]
    for drop in drops:
        people.put(drop)
        report = people.build()
    assert report.seconds["fold versions"] >= 0
    (folder,) = (tmp_path / "here").rglob("versions/employees")
    assert len(list(folder.iterdir())) == 3
    assert "fold versions" not in people.build().seconds
    late = _snapshot("2024-04-01", "Ada")
    people.put(late)
    people.build()
    assert people.tables == expected([*drops, late])
    (tmp_path / "here" / "drops" / late.key).unlink()
    people.build(code=65)
    marts("withdraw", "accept", "--why", "a wrong date", *people.flags)
    people.build(code=None)
    assert people.tables == expected(drops)
    assert marts("vacuum", *people.flags).exit_code == 0
    assert len(list(folder.iterdir())) == 1
    assert people.build().outcome == "unchanged"


def test_the_report_and_the_plan_of_a_pack_without_facts_name_its_drops(tmp_path: Path) -> None:
    people = People(tmp_path, "here")
    people.put(_snapshot("2024-01-01", "Ada", "Bo"))
    file = tmp_path / "here" / "drops" / "employees" / "2024-02-01.csv"
    file.write_text(f"{HEADER}1,Ada,Sales,,,\n2,,Sales,,,\n")
    totals = people.build().totals
    assert totals.kinds == ("employees",)
    assert (totals.drops, totals.rows_read, totals.clean, totals.quarantined, totals.counted) == (2, 4, 3, 1, 3)
    pages = [path.read_text() for path in (tmp_path / "here").rglob("reports/*.html")]
    assert any("2 drops of employees, 2 read in this run" in page for page in pages)
    (tmp_path / "here" / "drops" / "employees" / "2024-03-01.csv").write_text(f"{HEADER}1,Ada,Sales,,,\n")
    planned = marts("plan", *people.flags).stdout
    assert "employees/2024-03-01.csv" in planned
    assert "months" not in planned


def test_a_snapshot_that_cannot_be_right_does_not_count(tmp_path: Path) -> None:
    people = People(tmp_path, "here")
    good = _snapshot("2024-01-01", "Ada", "Bo")
    people.put(good)
    people.put(replace(_snapshot("2024-02-01"), key="employees/2024-02-01.csv"))
    people.put(replace(_snapshot("2024-03-01", "Ada"), key="employees/march.csv"))
    repeated = tmp_path / "here" / "drops" / "employees" / "2024-04-01.csv"
    repeated.write_text(f"{HEADER}1,Ada,Sales,,,\n1,Ada,Legal,,,\n")
    report = people.build(code=65)
    reasons = {drop.key: (drop.state, drop.reason) for drop in report.drops if drop.state != "live"}
    assert reasons["employees/2024-02-01.csv"] == ("held", "it has no rows: all entities would end")
    assert reasons["employees/march.csv"][0] == "rejected"
    assert "its name has no date" in reasons["employees/march.csv"][1]
    assert reasons["employees/2024-04-01.csv"][0] == "rejected"
    assert "employee_id is not unique" in reasons["employees/2024-04-01.csv"][1]
    assert people.tables == expected([good])


def test_the_date_of_a_snapshot_may_stand_anywhere_in_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = People(tmp_path, "here")
    config = people.folder / "marts.toml"
    lines = [line for line in config.read_text().splitlines() if not line.startswith("source")]
    block = ["[[source]]", "match = 'employees/exported-*'", "from_path = 'of-(?P<snapshot_date>[0-9-]+)'"]
    config.write_text("\n".join([*lines, *block]))
    monkeypatch.setenv("MARTS_SOURCE", str(people.folder / "drops"))
    drop = replace(_snapshot("2024-02-01", "Ada"), key="employees/exported-2024-09-09-of-2024-02-01.csv")
    people.put(drop)
    people.build()
    assert people.tables == expected([drop])


def test_several_snapshots_that_vanish_count_until_a_decision(tmp_path: Path) -> None:
    """A lifecycle rule that empties the landing zone does not rewrite history."""
    people = People(tmp_path, "here")
    drops = [_snapshot(f"2024-01-{day:02d}", "Ada", *["Bo"] * (day % 2)) for day in range(1, 9)]
    for drop in drops:
        people.put(drop)
    people.build()
    for drop in drops[:6]:
        (people.folder / "drops" / drop.key).unlink()
    people.build(code=65)
    assert people.tables == expected(drops)
    marts("withdraw", "accept", "--why", "a mistake", *people.flags)
    people.build(code=None)
    assert people.tables == expected(drops[6:])


def test_nothing_is_published_without_a_drop(tmp_path: Path) -> None:
    people = People(tmp_path, "here")
    report = people.build(code=65)
    assert report.error
    assert "no drop under employees/" in report.error.what
