"""Random histories of the banking pack: what is delivered, in which order, and what an independent oracle makes of it.

``python tests/packs/banking_histories.py --histories 500 --seed 1`` builds after each few deliveries and compares all
tables, and the counts of each drop, with those of ``tests/golden/banking/reference_oracle.py``.
"""

import argparse
import csv
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.kit import GOLDEN, Place, as_golden

from marts.packs import shipped
from marts.policy import Policy

PACK = shipped("banking")
CASE = GOLDEN / "banking"
MARTS = {mart.table: mart for mart in PACK.marts.values()}
OWN = (("max_unbalanced_ratio", Decimal(1)),)
POLICY = Policy(max_bad_ratio=1, max_unknown_ratio=1, max_fall=1, own=OWN)
FIRST, DAYS = date(2023, 11, 1), 152
AMOUNTS = ("0.01", "9.99", "10.00", "45.50", "60.25", "99.99", "100.00", "250", "999.99", "1000.00", "2000", "5000.00")
AMOUNTS += ("5000.01", "6000.00", "9999.99", "10000", "250000.00")
TYPES = ("PAYMENT", "PAYMENT", "PAYMENT", "online_purchase", "WITHDRAWAL", "TRANSFER", "DEPOSIT", "FEE", "REFUND")
STATUSES = ("COMPLETED",) * 6 + ("success", "FAILED", "FAILED", "declined", "PENDING", "REVERSED", "CANCELED")
CATEGORIES = ("", "", "", "", "Gambling", "Books")


@dataclass(frozen=True)
class Drop:
    """A drop, as it is delivered."""

    key: str
    text: str


@dataclass
class Bank:
    """What a bank has sent so far; it makes the next drops."""

    chance: random.Random
    number: int = 0
    sent: list[dict[str, Any]] = field(default_factory=list)
    """Rows of transactions, each with its day."""
    states: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)
    entries: int = 0

    def drop(self) -> Drop:
        """Return the next drop: of any kind, of any day."""
        self.number += 1
        kinds = ("transactions",) * 6 + ("ledger_entries",) * 3
        kind = self.chance.choice((*kinds, "customers", "accounts", "accounts", "merchants", "channels", "cities"))
        if kind == "transactions":
            return self._file(f"transactions/{self.number}.csv", self._transactions())
        if kind == "ledger_entries" and self.sent:
            return self._file(f"ledger_entries/{self.number}.csv", self._entries())
        return self.snapshot(kind if kind != "ledger_entries" else "accounts")

    def _file(self, key: str, rows: list[dict[str, Any]]) -> Drop:
        names = list(dict.fromkeys(name for row in rows for name in row if name != "of_day"))
        lines = [",".join(names), *(",".join(str(row.get(name, "")) for name in names) for row in rows)]
        return Drop(key, "\n".join(lines) + "\n")

    def _day(self) -> date:
        return FIRST + timedelta(self.chance.randrange(DAYS))

    def _transactions(self) -> list[dict[str, Any]]:
        rows = []
        for _ in range(self.chance.randint(1, 14)):
            row = self._corrected() if self.sent and self.chance.random() < 0.2 else self._new()
            rows.append(row)
            self.sent.append(row)
        if self.chance.random() < 0.3:  # rows that are no transactions
            rows.append(
                {**rows[0], "transaction_id": f"B{self.number}", "amount": self.chance.choice(("0", "-1", "x"))}
            )
        return rows

    def _new(self) -> dict[str, Any]:
        chance = self.chance
        near = [row for row in self.sent[-8:] if "T" in row["transaction_time"]]
        customer = chance.randint(1, 6)
        if near and chance.random() < 0.5:  # shortly before or after another one
            other = chance.choice(near)
            customer = other["customer_id"]
            seconds = chance.choice((0, 1, 60, 599, 600, 601, 3599, 3600, 3601, -300, -1800))
            moment = datetime.fromisoformat(other["transaction_time"]) + timedelta(seconds=seconds)
        else:
            moment = datetime.combine(self._day(), datetime.min.time()) + timedelta(seconds=chance.randrange(86400))
        if moment.date() < FIRST:
            moment += timedelta(days=1)
        written = moment.date().isoformat() if chance.random() < 0.1 else moment.isoformat()
        kind, city = chance.choice(TYPES), chance.choice(("", 1, 2, 3, 4))
        return {
            "transaction_id": f"T{len(self.sent):05d}-{self.number}",
            "transaction_time": written,
            "customer_id": customer,
            "transaction_type": kind,
            "amount": chance.choice(AMOUNTS),
            "status": chance.choice(STATUSES),
            "account_id": chance.choice(("", 100 + customer, 100 + customer, 109)),
            "related_account_id": chance.choice(("", 101, 900)) if kind == "TRANSFER" else "",
            "direction": chance.choice(("", "", "", "", "credit", "DEBIT")),
            "currency": "USD",
            "merchant_id": chance.choice((501, 502, 503, 504, ""))
            if kind.upper() in ("PAYMENT", "ONLINE_PURCHASE")
            else "",
            "category": chance.choice(CATEGORIES),
            "channel_id": chance.choice((1, 2, 3, 4, "")),
            "city_id": city,
            "card_type": chance.choice(("", "visa")),
            "processing_ms": chance.choice(("", 0, 999, 1000, 2999, 3000)),
            "balance_after": chance.choice(("", "", "0.00", "5.00", "-20.00", "400")),
            "is_fraudulent": chance.choice(("", "", "", "", "", "false", "0", "true", "1")),
            "posted_date": chance.choice(("", moment.date().isoformat())),
        }

    def _corrected(self) -> dict[str, Any]:
        """Return a transaction again: another status or amount, another day of its month, a label that came late."""
        chance, row = self.chance, dict(self.chance.choice(self.sent))
        match chance.randrange(4):
            case 0:
                row["status"] = chance.choice(STATUSES)
            case 1:
                row["amount"] = chance.choice(AMOUNTS)
            case 2:
                row["is_fraudulent"] = chance.choice(("true", "false", ""))
            case _:
                row["transaction_time"] = row["transaction_time"][:8] + f"{chance.randint(1, 28):02d}T12:00:00"
        return row

    def _entries(self) -> list[dict[str, Any]]:
        chance, rows = self.chance, list[dict[str, Any]]()
        for _ in range(chance.randint(1, 8)):
            row = chance.choice(self.sent)
            moment = row["transaction_time"][:10]
            of_day = date.fromisoformat(moment) + timedelta(chance.choice((0, 0, 0, 1, 20)))
            account, amount = row["account_id"] or 109, row["amount"]
            sides = [("DEBIT", account), ("CREDIT", 900)]
            if chance.random() < 0.3:
                sides = [("CREDIT", account), ("DEBIT", 900)]
            if chance.random() < 0.15:
                sides = sides[:1]
            for side, number in sides:
                self.entries += 1
                rows.append(
                    {
                        "entry_id": self.entries,
                        "transaction_id": row["transaction_id"] if chance.random() < 0.95 else f"X{self.entries}",
                        "account_id": number,
                        "entry_type": side,
                        "amount": amount if chance.random() < 0.9 else "7.77",
                        "entry_time": f"{of_day}T10:00:00",
                    }
                )
        if chance.random() < 0.2:
            rows.append({**rows[0], "amount": "3.33"})  # a later row of an entry
        return rows

    def snapshot(self, kind: str) -> Drop:
        """Return a snapshot of a dimension: the whole table as it has become, or a log of some changes."""
        chance, day = self.chance, self._day()
        state = self.states.setdefault(kind, {})
        for _ in range(chance.randint(1, 4)):
            number = chance.choice(KEYS[kind])
            if number in state and chance.random() < 0.25:
                del state[number]
            else:
                state[number] = self._entity(kind, number, day)
        if not state:
            state[KEYS[kind][0]] = self._entity(kind, KEYS[kind][0], day)
        key = f"{kind}/date={day}/{self.number}.csv"
        if kind != "channels" and chance.random() < 0.25:
            named = chance.sample(sorted(state), chance.randint(1, len(state)))
            rows = [{"op": chance.choice("cur"), **state[number]} for number in named]
            if missing := [number for number in KEYS[kind] if number not in state]:
                number = chance.choice(missing)
                rows.append({"op": "d", **self._entity(kind, number, day)})
            return self._file(key, [{**row, "note": self.number} for row in rows])
        rows = [{**state[number], "note": self.number} for number in sorted(state)]
        if kind in BAD and len(rows) > 1 and chance.random() < 0.2:
            rows[-1] = {**rows[-1], **BAD[kind]}
        return self._file(key, rows)

    def _entity(self, kind: str, number: int, day: date) -> dict[str, Any]:
        chance = self.chance
        updated = chance.choice(("", "", day - timedelta(chance.randint(0, 12))))
        match kind:
            case "customers":
                return {
                    "customer_id": number,
                    "full_name": chance.choice(("Amina", "Brian", "Chao")) + f" {number}",
                    "email": chance.choice(("", "a@example.org")),
                    "phone": "",
                    "city_id": chance.choice(("", 1, 2)),
                    "segment": chance.choice(("", "Retail", "SMB")),
                    "status": chance.choice(("ACTIVE", "active", "INACTIVE")),
                    "registration_date": chance.choice(("", day.replace(day=1))),
                    "credit_score": chance.choice(("", 640, 710)),
                    "monthly_income": chance.choice(("", "2500.00")),
                    "updated_at": updated,
                }
            case "accounts":
                kinds = ("CHECKING", "savings", "LOAN", "CREDIT", "BUSINESS")
                return {
                    "account_id": number,
                    "customer_id": "" if number == 900 else chance.choice((number - 100, 1)),
                    "account_type": "INTERNAL" if number == 900 else chance.choice(kinds),
                    "status": chance.choice(("ACTIVE", "ACTIVE", "DORMANT", "CLOSED")),
                    "currency": "USD",
                    "balance": chance.choice(("0.00", "99.99", "100.00", "2500.55", "70000.00")),
                    "interest_rate": chance.choice(("", "1.25", "12.5")),
                    "opening_date": chance.choice(("", day)),
                    "updated_at": updated,
                }
            case "merchants":
                return {
                    "merchant_id": number,
                    "merchant_name": f"Shop {number}",
                    "category": chance.choice(("Supermarket", "Gambling", "Fuel")),
                    "mcc": chance.choice(("", "5411", "7995")),
                }
            case "channels":
                fee = chance.choice(("0", "0.55", "1.00", "2.5", "33.33"))
                return {"channel_id": number, "channel_name": f"Channel {number}", "fee_percent": fee}
            case _:
                region = chance.choice(("", "Coast", "Central"))
                return {"city_id": number, "city_name": f"City {number}", "state": "", "region": region}


KEYS: dict[str, tuple[int, ...]] = {
    "customers": (1, 2, 3, 4, 5),
    "accounts": (101, 102, 103, 104, 105, 109, 900),
    "merchants": (501, 502, 503),
    "channels": (1, 2, 3),
    "cities": (1, 2, 3),
}
BAD: dict[str, dict[str, Any]] = {
    "customers": {"status": "GONE"},
    "accounts": {"balance": "x"},
    "merchants": {"category": ""},
}
"""Values that put a row into quarantine."""


def first_drops(bank: Bank) -> Iterator[Drop]:
    """Return one drop of each kind; a transaction and an entry are of the first day, before each as_of."""
    for kind in KEYS:
        bank.number += 1
        yield bank.snapshot(kind)
    bank.number += 1
    first = {**bank._new(), "transaction_time": f"{FIRST}T09:00:00", "status": "COMPLETED"}
    bank.sent.append(first)
    yield bank._file(f"transactions/{bank.number}.csv", [first, *bank._transactions()])
    entry = {"entry_id": "E0", "transaction_id": "X0", "account_id": 900, "entry_type": "DEBIT", "amount": "1.00"}
    yield bank._file("ledger_entries/0.csv", [{**entry, "entry_time": f"{FIRST}T10:00:00"}])


def wanted(name: str, folder: Path) -> list[dict[str, str]]:
    """Return the rows of a table that the oracle wrote."""
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def given(place: Place, name: str, expected: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the rows that readers see, as the oracle writes them: the expected ones first, in their order."""
    columns = [column.name for column in MARTS[name].columns]
    flags = {n for n, column in enumerate(MARTS[name].columns) if column.type == "flag"}
    with closing(place.warehouse(read_only=True)) as warehouse:
        rows = warehouse.execute(f"SELECT {', '.join(columns)} FROM {name}")
    typed = [tuple(bool(v) if n in flags and v is not None else v for n, v in enumerate(row)) for row in rows]
    written = as_golden(typed, columns, list(expected[0]) if expected else columns)
    order = {tuple(row.values()): n for n, row in enumerate(expected)}
    return sorted(written, key=lambda row: (order.get(tuple(row.values()), len(order)), *row.values()))


def counts(place: Place) -> list[dict[str, str]]:
    """Return the counts of the live drops, as the oracle writes them."""
    names = ("rows_read", "clean", "quarantined", "duplicates")
    with closing(place.warehouse(read_only=True)) as warehouse:
        drops = sorted((drop for drop in warehouse.drops() if drop.state == "live"), key=lambda drop: drop.object_key)
    return [{"key": drop.object_key, **{name: str(getattr(drop, name)) for name in names}} for drop in drops]


def differences(place: Place, drops: list[Drop], as_of: date, folder: Path) -> list[str]:
    """Compare the tables of a build with those that the oracle computes from the drops, in order of delivery."""
    source, out = folder / "input", folder / "expected"
    source.mkdir(exist_ok=True)
    with (source / "deliveries.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("delivered_at", "key"))
        for number, drop in enumerate(drops):
            path = source / drop.key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(drop.text)
            writer.writerow((datetime(2024, 4, 1, tzinfo=UTC) + timedelta(minutes=number), drop.key))
    command = [sys.executable, str(CASE / "reference_oracle.py"), as_of.isoformat(), str(source), str(out)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    wrong = []
    for name in MARTS:
        expected = wanted(name, out)
        rows = given(place, name, expected)
        if rows != expected:
            more = next((row for row in rows if row not in expected), None)
            less = next((row for row in expected if row not in rows), None)
            wrong.append(f"{name}: {more} instead of {less}")
    if (own := counts(place)) != (expected := wanted("drops", out)):
        wrong += [f"{a} instead of {b}" for a, b in zip(own, expected, strict=False) if a != b][:1] or ["drops"]
    return wrong


@patch("jobs.steps.rollup._GOES_ON", timedelta(days=1000))
@patch("jobs.steps.rollup._DAYS", 4)
def run_history(place: Place, seed: int, folder: Path, deliveries: int = 24) -> tuple[int, list[str]]:
    """Deliver, withdraw and build in turns; return the number of builds compared, and the first differences."""
    bank = Bank(random.Random(seed))
    chance = random.Random(seed + 10**6)
    place.policy = POLICY
    place.settings = {"pack": "banking", "drops": {"withdrawals": "apply"}}
    if seed % 2:  # by days, in several tasks
        place.settings["limits"] = {"rollup_lines": 30}
    drops = list(first_drops(bank))
    for drop in drops:
        place.put(drop.key, drop.text)
    as_of, builds = date(2024, 2, 15), 0
    while True:
        report = place.build(as_of=as_of)
        builds += 1
        if report.error:
            return builds, [f"seed {seed}, build {builds}: {report.error}"]
        for old in folder.glob("*/**/*.csv"):
            old.unlink()
        if wrong := differences(place, drops, as_of, folder):
            return builds, [f"seed {seed}, build {builds}, as of {as_of}: {item}" for item in wrong]
        if deliveries <= 0:
            return builds, []
        for _ in range(chance.randint(1, 4)):
            deliveries -= 1
            movable = [drop for drop in drops if drop.key.startswith("transactions/")][1:]
            if movable and chance.random() < 0.08:
                withdrawn = chance.choice(movable)
                drops.remove(withdrawn)
                (place.source / withdrawn.key).unlink()
                continue
            drops.append(bank.drop())
            place.put(drops[-1].key, drops[-1].text)
        as_of = max(as_of, chance.choice((date(2024, 2, 15), date(2024, 2, 29), date(2024, 3, 31))))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--histories", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deliveries", type=int, default=24)
    arguments = parser.parse_args()
    builds, failed, began = 0, 0, time.monotonic()
    for number in range(arguments.histories):
        with tempfile.TemporaryDirectory(prefix="bank-") as name:
            (Path(name) / "oracle").mkdir()
            place = Place(Path(name))
            count, wrong = run_history(place, arguments.seed + number, Path(name) / "oracle", arguments.deliveries)
        builds += count
        failed += bool(wrong)
        print(*wrong, sep="\n", end="\n" if wrong else "", flush=True)
    print(
        f"{arguments.histories} histories, {builds} builds compared, {failed} histories differ; "
        f"{time.monotonic() - began:.0f} s"
    )
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
