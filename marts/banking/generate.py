"""Generate the drops of a bank: customers with lives, salaries, shops, frauds, a ledger, snapshots, and flaws.

The same lines and seed write the same bytes. `generated.json` beside the drops describes the input, to compare it with
the result of a build. Balances follow from the completed transactions: a debit that an account cannot pay fails.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

FIRST_DAY, DAYS = date(2024, 1, 1), 182
CLEARING = 900
"""The account of the bank that is on the other side of payments."""
_LINES_PER_CUSTOMER = 60
_FAVOURITES, _MERCHANTS, _CITIES = 12, 400, 25
_CATEGORIES = (
    ("Supermarket", "5411", 42), ("Restaurant", "5812", 28), ("Fuel", "5541", 55), ("Clothing", "5651", 70),
    ("Pharmacy", "5912", 25), ("Electronics", "5732", 240), ("Travel", "4722", 380), ("Utilities", "4900", 95),
    ("Streaming", "4899", 12), ("Books", "5942", 22), ("Gambling", "7995", 60), ("Money Transfer", "4829", 150),
)  # fmt: skip
"""Category, its code, and a usual amount."""
_SHARES = (30, 20, 10, 9, 6, 4, 3, 5, 6, 4, 1.5, 1.5)
_CHANNELS = (("Mobile", "0.50"), ("Card", "1.20"), ("Branch", "0.00"), ("Transfer", "0.25"))
_TYPES = ("PAYMENT", "ONLINE_PURCHASE", "WITHDRAWAL", "TRANSFER", "DEPOSIT")
_PAYMENT, _ONLINE, _WITHDRAWAL, _TRANSFER, _DEPOSIT = range(len(_TYPES))
_STATUSES = ("COMPLETED", "FAILED", "PENDING", "REVERSED", "CANCELLED")
_DONE, _FAILED, _PENDING, _REVERSED, _CANCELLED = range(len(_STATUSES))
_FIRST_NAMES = (
    "Achieng Amina Anders Bao Carmen Daniel Elena Farah Giulia Hamid Ingrid Joseph Kofi Lin Marta Mehmet Nora Otieno "
    "Paulo Quynh Rania Samuel Tomas Urmila Victor Wanjiru Ximena Yara Zoë"
).split()
_LAST_NAMES = (
    "Abebe Andersson Brandt Castro Diop Eriksen Ferrari Gonzalez Hassan Ivanova Johansson Kamau Lindgren Moreau Nguyen "
    "Odhiambo Pereira Qureshi Rossi Schneider Tran Usman Virtanen Weber Yilmaz Zhang"
).split()
_STREETS = ("Bank Street", "Harbour Road", "Mill Lane", "Park Avenue", "River Walk")
_SEGMENTS, _SEGMENT_SHARES = ("Retail", "SMB", "Premium", "Corporate"), (0.8, 0.1, 0.08, 0.02)
_DIRTY, _LATE, _LEDGER_ERRORS, _FRAUDS = 0.002, 0.003, 0.0002, 0.0004
_FLAWS: tuple[dict[str, str], ...] = (
    {"amount": "0.00"}, {"amount": "-12.50"}, {"amount": "12.345"}, {"amount": ""}, {"status": "LOST"},
    {"transaction_type": "GIFT"}, {"transaction_id": ""}, {"customer_id": "abc"},
    {"transaction_time": "2024-02-30T10:00:00"}, {"processing_ms": "-1"},
)  # fmt: skip
"""Values that put a row into quarantine."""
_COLUMNS = (
    "transaction_id", "transaction_time", "customer_id", "account_id", "related_account_id", "transaction_type",
    "amount", "currency", "status", "merchant_id", "channel_id", "city_id", "processing_ms", "balance_after",
    "is_fraudulent",
)  # fmt: skip


@dataclass
class _People:
    """Customers, by place: the id of one is its place plus 1."""

    home: np.ndarray
    segment: np.ndarray
    joins: np.ndarray
    """Day of the first transaction; below 0 for one from the start."""
    leaves: np.ndarray
    """Day of the end of the account; beyond the last for one who stays."""
    salary: np.ndarray
    """Cents."""
    weight: np.ndarray
    favourites: np.ndarray
    balance: np.ndarray
    """Cents, as they are on the day that is generated."""


@dataclass
class _Bank:
    """What has been generated so far."""

    folder: Path
    random: np.random.Generator
    people: _People
    category: np.ndarray
    """Of each merchant."""
    days: int
    truth: Counter[str] = field(default_factory=Counter)
    number: int = 0
    """Of the last transaction."""
    entry: int = 0
    clearing: int = 0
    late: list[pa.Table] = field(default_factory=list)
    """Rows of days before that come with the next drop."""
    wrong: list[str] = field(default_factory=list)
    """Transactions with wrong entries."""


def generate(
    folder: Path,
    lines: int,
    seed: int,
    progress: Callable[[], None] = lambda: None,
    customers: int | None = None,
    days: int = DAYS,
) -> dict[str, object]:
    """Write drops of about as many transactions under a folder, for some days. Return what was generated."""
    random = np.random.default_rng(seed)
    bank = _Bank(
        folder=folder,
        random=random,
        people=_make_people(random, customers or max(lines // _LINES_PER_CUSTOMER, 20), days),
        category=random.choice(len(_CATEGORIES), _MERCHANTS, p=np.array(_SHARES) / sum(_SHARES)),
        days=days,
    )
    _write_references(bank)
    unit = 1 if lines / days >= 500 else 7 if lines / days * 7 >= 500 else 30
    batch: list[tuple[pa.Table, pa.Table]] = []
    for day in range(days):
        batch.append(_day(bank, day, lines // days))
        today = FIRST_DAY + timedelta(day)
        is_last = day == days - 1
        if is_last or (day + 1) % unit == 0:
            _write_drops(bank, batch, today, is_last)
            batch = []
        if is_last or (today + timedelta(1)).day == 1:
            _write_snapshots(bank, day)
        progress()
    return _write_truth(bank, seed)


def _make_people(random: np.random.Generator, count: int, days: int) -> _People:
    rank = random.permutation(count) + 1
    joins = np.where(random.random(count) < 0.9, -1, random.integers(0, days, count))
    leaves = np.where(random.random(count) < 0.02, random.integers(days // 2, days, count), days + 1)
    return _People(
        home=random.integers(1, _CITIES + 1, count),
        segment=random.choice(len(_SEGMENTS), count, p=_SEGMENT_SHARES),
        joins=joins,
        leaves=np.where(leaves > joins, leaves, days + 1),
        salary=(random.lognormal(7.9, 0.5, count) * 100).astype(np.int64) // 100 * 100,
        weight=1 / (rank + count / 20) ** 0.6,
        favourites=random.integers(0, _MERCHANTS, (count, _FAVOURITES)),
        balance=(random.lognormal(8.6, 0.9, count) * 100).astype(np.int64),
    )


def _day(bank: _Bank, day: int, count: int) -> tuple[pa.Table, pa.Table]:
    """Return the transactions and the ledger entries of a day."""
    rows = _frauds(bank, day, count, _salaries(bank, day, count, _payments(bank, day, count)))
    order = np.lexsort((np.arange(len(rows["customer"])), rows["second"]))
    rows = {name: values[order] for name, values in rows.items()}
    after = _settle(bank, rows)
    return _transactions(bank, day, rows, after), _entries(bank, day, rows)


def _alive(bank: _Bank, day: int) -> np.ndarray:
    people = bank.people
    return np.flatnonzero((people.joins <= day) & (people.leaves > day))


def _payments(bank: _Bank, day: int, count: int) -> dict[str, np.ndarray]:
    """Return ordinary transactions: at favourite merchants, by day, at home."""
    random, people = bank.random, bank.people
    alive = _alive(bank, day)
    weight = people.weight[alive]
    customer = random.choice(alive, count, p=weight / weight.sum())
    kind = random.choice(4, count, p=(0.6, 0.2, 0.1, 0.1))
    place = np.minimum(random.geometric(0.25, count), _FAVOURITES) - 1
    merchant = people.favourites[customer, place]
    merchant = np.where(random.random(count) < 0.08, random.integers(0, _MERCHANTS, count), merchant)
    usual = np.array([amount for _, _, amount in _CATEGORIES])[bank.category[merchant]]
    amount = np.maximum(random.lognormal(np.log(usual * 100), 0.6), 50).astype(np.int64)
    amount = np.where(kind == _WITHDRAWAL, random.integers(1, 20, count) * 2000, amount)
    amount = np.where(kind == _TRANSFER, random.integers(1, 60, count) * 2500, amount)
    hour = random.choice(24, count, p=_HOURS)
    return {
        "customer": customer,
        "kind": kind,
        "merchant": np.where(kind <= _ONLINE, merchant, -1),
        "cents": amount,
        "second": hour * 3600 + random.integers(0, 3600, count),
        "city": np.where(random.random(count) < 0.96, people.home[customer], random.integers(1, _CITIES + 1, count)),
        "channel": np.where(kind == _TRANSFER, 4, np.where(kind == _ONLINE, 1, random.choice((1, 2, 2, 2, 3), count))),
        "other": np.where(kind == _TRANSFER, _others(random, alive, customer), -1),
        "status": random.choice(len(_STATUSES), count, p=(0.965, 0.02, 0.007, 0.005, 0.003)),
        "label": np.zeros(count, np.int64),
    }


def _others(random: np.random.Generator, alive: np.ndarray, customer: np.ndarray) -> np.ndarray:
    """Return the owner of the other account of a transfer: somebody else."""
    place = random.integers(0, len(alive), len(customer))
    return np.where(alive[place] == customer, alive[(place + 1) % len(alive)], alive[place])


_HOURS = np.array([1, 1, 0.5, 0.5, 0.5, 1, 3, 5, 6, 6, 6, 7, 8, 7, 6, 6, 7, 8, 8, 6, 4, 3, 2, 1.5])
_HOURS = _HOURS / _HOURS.sum()


def _salaries(bank: _Bank, day: int, count: int, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Replace ordinary transactions by the salaries of a day, at most half of them."""
    today = FIRST_DAY + timedelta(day)
    alive = _alive(bank, day)
    paid = alive[(alive % 4 + 25) == today.day][: count // 2]
    rows = {name: values[len(paid) :] for name, values in rows.items()}
    more = {
        "customer": paid,
        "kind": np.full(len(paid), _DEPOSIT),
        "merchant": np.full(len(paid), -1),
        "cents": bank.people.salary[paid],
        "second": np.full(len(paid), 6 * 3600),
        "city": bank.people.home[paid],
        "channel": np.full(len(paid), 4),
        "other": np.full(len(paid), -1),
        "status": np.full(len(paid), _DONE),
        "label": np.zeros(len(paid), np.int64),
    }
    return _joined(rows, more)


def _joined(rows: dict[str, np.ndarray], more: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([values, more[name].astype(np.int64)]) for name, values in rows.items()}


def _frauds(bank: _Bank, day: int, count: int, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Add frauds, which their labels know: a burst of payments, or an account that is emptied after two failures."""
    random, people = bank.random, bank.people
    alive = _alive(bank, day)
    victims = random.choice(alive, min(random.poisson(count * _FRAUDS), len(alive)), replace=False)
    victims = victims[people.balance[victims] > 100_000]
    gambling = np.flatnonzero(bank.category == 10)
    shop = gambling[0] if len(gambling) else 0
    for victim in victims.tolist():
        is_burst = random.random() < 0.5
        size = 6 if is_burst else 3
        city = int(people.home[victim]) % _CITIES + 1
        start = int(random.integers(0, 4 * 3600))
        emptied = int(people.balance[victim]) * 97 // 100
        more = {
            "customer": np.full(size, victim),
            "kind": np.full(size, _PAYMENT if is_burst else _WITHDRAWAL),
            "merchant": np.full(size, shop if is_burst else -1),
            "cents": random.integers(10_000, 90_000, size) if is_burst else np.full(size, emptied),
            "second": start + np.arange(size) * 90,
            "city": np.full(size, city),
            "channel": np.full(size, 1),
            "other": np.full(size, -1),
            "status": np.full(size, _DONE) if is_burst else np.array([_FAILED, _FAILED, _DONE]),
            "label": np.full(size, 1),
        }
        rows = _joined(rows, more)
        bank.truth["frauds"] += 1
    return rows


def _settle(bank: _Bank, rows: dict[str, np.ndarray]) -> np.ndarray:
    """Book the completed rows, and let those fail that an account cannot pay. Return the balance after each row."""
    balance = bank.people.balance
    count = len(rows["customer"])
    sign = np.where(rows["kind"] == _DEPOSIT, 1, -1)
    while True:
        done = rows["status"] == _DONE
        own = np.where(done, sign * rows["cents"], 0)
        moved = (rows["kind"] == _TRANSFER) & done
        account = np.concatenate([rows["customer"], rows["other"][moved]])
        cents = np.concatenate([own, rows["cents"][moved]])
        row = np.concatenate([np.arange(count), np.flatnonzero(moved)])
        order = np.lexsort((row, account))
        sums = np.cumsum(cents[order])
        first = np.flatnonzero(np.diff(account[order], prepend=-1))
        before = np.repeat(sums[first] - cents[order][first], np.diff(first, append=len(order)))
        running = sums - before + balance[account[order]]
        places = order < count
        after = np.empty(count, np.int64)
        after[order[places]] = running[places]
        failed = done & (after < 0) & (sign < 0)
        if not failed.any():
            break
        rows["status"] = np.where(failed, _FAILED, rows["status"])
    np.add.at(balance, account, cents)
    bank.clearing -= int(own.sum()) + int(rows["cents"][moved].sum())
    return after


def _transactions(bank: _Bank, day: int, rows: dict[str, np.ndarray], after: np.ndarray) -> pa.Table:
    random, count = bank.random, len(rows["customer"])
    rows["number"] = bank.number + 1 + np.arange(count)
    bank.number += count
    bank.truth["transactions"] += count
    labelled = (rows["label"] == 1) & (rows["status"] == _DONE)
    bank.truth["labelled"] += int(labelled.sum())
    milliseconds = np.minimum(random.lognormal(6.3, 0.8, count), 60_000).astype(np.int64)
    return pa.table(
        {
            "transaction_id": _texts("T", rows["number"]),
            "transaction_time": _times(day, rows["second"]),
            "customer_id": _texts("", rows["customer"] + 1),
            "account_id": _texts("", _account(rows["customer"])),
            "related_account_id": _texts("", _account(rows["other"]), rows["other"] >= 0),
            "transaction_type": pa.array(_TYPES).take(pa.array(rows["kind"])),
            "amount": _money(rows["cents"]),
            "currency": pa.array(["USD"] * count),
            "status": pa.array(_STATUSES).take(pa.array(rows["status"])),
            "merchant_id": _texts("", rows["merchant"] + 501, rows["merchant"] >= 0),
            "channel_id": _texts("", rows["channel"]),
            "city_id": _texts("", rows["city"]),
            "processing_ms": _texts("", milliseconds),
            "balance_after": _money(after),
            "is_fraudulent": pa.array(np.where(labelled, "true", "")),
        }
    ).select(_COLUMNS)


def _entries(bank: _Bank, day: int, rows: dict[str, np.ndarray]) -> pa.Table:
    """Return two entries for each completed transaction, a few of them wrong."""
    done = np.flatnonzero(rows["status"] == _DONE)
    rows = {name: values[done] for name, values in rows.items()}
    count, random = len(done), bank.random
    is_credit = rows["kind"] == _DEPOSIT
    account = _account(rows["customer"])
    other = np.where(rows["other"] >= 0, _account(rows["other"]), CLEARING)
    sides = pa.array(["DEBIT", "CREDIT"])
    cents = np.repeat(rows["cents"], 2)
    is_wrong = random.random(count) < _LEDGER_ERRORS
    bank.wrong += [f"T{number}" for number in rows["number"][is_wrong].tolist()]
    wrong = np.flatnonzero(np.repeat(is_wrong, 2))[1::2]  # the entry of the other account
    is_other_amount = random.random(len(wrong)) < 0.5
    cents[wrong[is_other_amount]] += 100
    bank.truth["unbalanced"] += int(is_other_amount.sum())
    bank.truth["one_sided"] += int((~is_other_amount).sum())
    kept = np.setdiff1d(np.arange(2 * count), wrong[~is_other_amount])
    numbers = bank.entry + 1 + np.arange(2 * count)
    bank.entry += 2 * count
    table = pa.table(
        {
            "entry_id": _texts("E", numbers),
            "transaction_id": _texts("T", np.repeat(rows["number"], 2)),
            "account_id": _texts("", np.stack([account, other], 1).ravel()),
            "entry_type": sides.take(pa.array(np.stack([is_credit, ~is_credit], 1).ravel().astype(np.int64))),
            "amount": _money(cents),
            "entry_time": _times(day, np.repeat(rows["second"], 2)),
        }
    ).take(pa.array(kept))
    bank.truth["entries"] += table.num_rows
    return table


def _write_drops(bank: _Bank, batch: list[tuple[pa.Table, pa.Table]], today: date, is_last: bool) -> None:
    """Write the transactions and entries of some days: some rows come late, some are wrong, some come again."""
    random, late = bank.random, bank.late
    rows = pa.concat_tables(table for table, _ in batch)
    waits = np.zeros(rows.num_rows, bool) if is_last else random.random(rows.num_rows) < _LATE
    bank.truth["late"] += int(waits.sum())
    bank.late = [rows.filter(pa.array(waits)), *_completed(bank, rows, is_last)]
    rows = pa.concat_tables([rows.filter(pa.array(~waits)), *late])
    flaws = max(int(rows.num_rows * _DIRTY), 1)
    picked = np.sort(random.choice(rows.num_rows, min(flaws, rows.num_rows), replace=False))
    wrong = rows.take(pa.array(picked))
    wrong = wrong.set_column(0, "transaction_id", pa.array([f"W{today:%Y%m%d}-{n}" for n in range(wrong.num_rows)]))
    for n in range(wrong.num_rows):
        for name, value in _FLAWS[(bank.truth["flaws"] + n) % len(_FLAWS)].items():
            place, column = wrong.schema.get_field_index(name), wrong[name].to_pylist()
            column[n] = value
            wrong = wrong.set_column(place, name, pa.array(column, pa.string()))
    bank.truth["flaws"] += wrong.num_rows
    bank.truth["rows"] += rows.num_rows + wrong.num_rows
    _write(bank, f"transactions/{today:%Y/%m}/transactions-{today}.csv", pa.concat_tables([rows, wrong]))
    _write(bank, f"ledger_entries/{today:%Y/%m}/entries-{today}.csv", pa.concat_tables(table for _, table in batch))


def _completed(bank: _Bank, rows: pa.Table, is_last: bool) -> list[pa.Table]:
    """Return the pending transactions as they come again with the next drop: cancelled, since nothing was booked."""
    if is_last:
        return []
    pending = rows.filter(pc.equal(rows["status"], "PENDING"))
    bank.truth["corrections"] += pending.num_rows
    place = rows.schema.get_field_index("status")
    return [pending.set_column(place, "status", pa.array(["CANCELLED"] * pending.num_rows, pa.string()))]


def _write_references(bank: _Bank) -> None:
    """Write merchants, channels and cities; a fee changes, and so do some merchants."""
    numbers = range(_MERCHANTS)
    merchants = [
        (n + 501, f"{_CATEGORIES[bank.category[n]][0]} {n + 501}", *_CATEGORIES[bank.category[n]][:2]) for n in numbers
    ]
    first = f"date={FIRST_DAY}"
    _write_rows(
        bank, f"merchants/{first}/merchants.csv", ("merchant_id", "merchant_name", "category", "mcc"), merchants
    )
    cities = [(n, f"City {n}", f"State {n % 5 + 1}", ("North", "South", "Coast")[n % 3]) for n in range(1, _CITIES + 1)]
    _write_rows(bank, f"cities/{first}/cities.csv", ("city_id", "city_name", "state", "region"), cities)
    names = ("channel_id", "channel_name", "fee_percent")
    channels = [(n + 1, *channel) for n, channel in enumerate(_CHANNELS)]
    _write_rows(bank, f"channels/{first}/channels.csv", names, channels)
    middle = FIRST_DAY + timedelta(bank.days // 2)
    _write_rows(bank, f"channels/date={middle}/channels.csv", names, [(1, "Mobile", "0.75"), *channels[1:]])
    moved = [("u", n + 501, f"{merchants[n][1]} (new)", "Gambling", "7995") for n in (3, 4)]
    _write_rows(
        bank, f"merchants/date={middle}/changes.csv", ("op", "merchant_id", "merchant_name", "category", "mcc"), moved
    )


def _write_snapshots(bank: _Bank, day: int) -> None:
    """Write the customers and accounts at the end of a month: new ones, changes, and no longer those who left."""
    people, today = bank.people, FIRST_DAY + timedelta(day)
    month = (today.year - FIRST_DAY.year) * 12 + today.month
    alive = _alive(bank, day + 1)
    people.segment[alive[(alive * 7 + month) % 97 == 0]] = 2  # some become Premium
    names = [f"{_FIRST_NAMES[n % len(_FIRST_NAMES)]} {_LAST_NAMES[n // 7 % len(_LAST_NAMES)]}" for n in alive.tolist()]
    street = [
        f"{n % 90 + 1} {_STREETS[(n + (month if n % 61 == month % 61 else 0)) % len(_STREETS)]}" for n in alive.tolist()
    ]
    since = [FIRST_DAY + timedelta(int(n)) if n >= 0 else date(2019, 1, 1) for n in people.joins[alive]]
    customers = pa.table(
        {
            "customer_id": _texts("", alive + 1),
            "full_name": pa.array(names),
            "email": pa.array(
                [f"{name.split()[0].lower()}.{n + 1}@example.org" for name, n in zip(names, alive, strict=True)]
            ),
            "phone": pa.array([f"+1 555 {n:07d}" for n in alive.tolist()]),
            "address": pa.array(street),
            "city_id": _texts("", people.home[alive]),
            "segment": pa.array(_SEGMENTS).take(pa.array(people.segment[alive])),
            "status": pa.array(["ACTIVE"] * len(alive)),
            "registration_date": pa.array([item.isoformat() for item in since]),
            "credit_score": _texts("", 500 + (alive * 37 + month) % 300),
            "monthly_income": _money(people.salary[alive]),
        }
    )
    _write(bank, f"customers/date={today}/customers.csv", customers)
    loans = alive[alive % 10 == 0]
    accounts = pa.table(
        {
            "account_id": _texts("", np.concatenate([_account(alive), 2_000_000_000 + loans, [CLEARING]])),
            "customer_id": _texts(
                "",
                np.concatenate([alive + 1, loans + 1, [0]]),
                np.arange(len(alive) + len(loans) + 1) < len(alive) + len(loans),
            ),
            "account_type": pa.array(["CHECKING"] * len(alive) + ["LOAN"] * len(loans) + ["INTERNAL"]),
            "status": pa.array(["ACTIVE"] * (len(alive) + len(loans) + 1)),
            "currency": pa.array(["USD"] * (len(alive) + len(loans) + 1)),
            "balance": _money(np.concatenate([people.balance[alive], people.salary[loans] * 6, [bank.clearing]])),
            "interest_rate": pa.array(["0.50"] * len(alive) + ["7.25"] * len(loans) + [""]),
        }
    )
    _write(bank, f"accounts/date={today}/accounts.csv", accounts)
    bank.truth["snapshots"] += 2


def _account(customer: np.ndarray) -> np.ndarray:
    return 1_000_000_000 + customer


def _texts(start: str, numbers: np.ndarray, given: np.ndarray | None = None) -> pa.Array:
    """Return numbers as texts; an empty one where none is given."""
    texts = pc.cast(pa.array(numbers.astype(np.int64)), pa.string())
    if start:
        texts = pc.binary_join_element_wise(start, texts, "")
    return texts if given is None else pc.if_else(pa.array(given), texts, "")


def _money(cents: np.ndarray) -> pa.Array:
    """Return cents as texts with two digits after the point."""
    size = np.abs(cents.astype(np.int64))
    whole = pc.cast(pa.array(size // 100), pa.string())
    rest = pc.utf8_lpad(pc.cast(pa.array(size % 100), pa.string()), 2, "0")
    sign = pa.array(np.where(cents < 0, "-", ""))
    return pc.binary_join_element_wise(sign, pc.binary_join_element_wise(whole, rest, "."), "")


def _times(day: int, seconds: np.ndarray) -> pa.Array:
    start = np.datetime64(FIRST_DAY + timedelta(day), "s")
    return pc.strftime(pa.array(start + seconds.astype("timedelta64[s]")), "%Y-%m-%dT%H:%M:%S")


def _write(bank: _Bank, key: str, table: pa.Table) -> None:
    path = bank.folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    pacsv.write_csv(table, path, pacsv.WriteOptions(quoting_style="none"))


def _write_rows(bank: _Bank, key: str, names: tuple[str, ...], rows: list[Any]) -> None:
    columns = zip(*rows, strict=True)
    _write(bank, key, pa.table({name: pa.array(map(str, values)) for name, values in zip(names, columns, strict=True)}))


def _write_truth(bank: _Bank, seed: int) -> dict[str, object]:
    truth: dict[str, object] = {
        "lines": bank.truth["rows"],
        "seed": seed,
        "as_of": (FIRST_DAY + timedelta(bank.days - 1)).isoformat(),
        "days": bank.days,
        "customers": len(bank.people.home),
        **dict(sorted(bank.truth.items())),
        "wrong_in_ledger": sorted(bank.wrong),
    }
    (bank.folder / "generated.json").write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")
    return truth
