"""Generate the drops of a bank: customers with lives, salaries, shops, frauds, a ledger, snapshots, and flaws.

The same lines and seed write the same bytes. `generated.json` beside the drops describes the input, to compare it with
the result of a build. Balances follow from the completed transactions: a debit that an account cannot pay fails.
"""

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marts.banking.bank import (
    CATEGORIES,
    CITIES,
    CLEARING,
    DAYS,
    FAVOURITES,
    FIRST_DAY,
    MERCHANTS,
    SEGMENTS,
    Bank,
    People,
    account_of,
    customers_on,
    money,
    texts,
    times,
    write,
)
from marts.banking.snapshots import write_references, write_snapshots

_LINES_PER_CUSTOMER = 60
_SHARES = (30, 20, 10, 9, 6, 4, 3, 5, 6, 4, 1.5, 1.5)
_TYPES = ("PAYMENT", "ONLINE_PURCHASE", "WITHDRAWAL", "TRANSFER", "DEPOSIT")
_PAYMENT, _ONLINE, _WITHDRAWAL, _TRANSFER, _DEPOSIT = range(len(_TYPES))
_STATUSES = ("COMPLETED", "FAILED", "PENDING", "REVERSED", "CANCELLED")
_DONE, _FAILED, _PENDING, _REVERSED, _CANCELLED = range(len(_STATUSES))
_SHARES_OF_SEGMENTS = (0.8, 0.1, 0.08, 0.02)
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
    bank = Bank(
        folder=folder,
        random=random,
        people=_make_people(random, customers or max(lines // _LINES_PER_CUSTOMER, 20), days),
        category=random.choice(len(CATEGORIES), MERCHANTS, p=np.array(_SHARES) / sum(_SHARES)),
        days=days,
    )
    write_references(bank)
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
            write_snapshots(bank, day)
        progress()
    return _write_truth(bank, seed)


def _make_people(random: np.random.Generator, count: int, days: int) -> People:
    rank = random.permutation(count) + 1
    joins = np.where(random.random(count) < 0.9, -1, random.integers(0, days, count))
    leaves = np.where(random.random(count) < 0.02, random.integers(days // 2, days, count), days + 1)
    return People(
        home=random.integers(1, CITIES + 1, count),
        segment=random.choice(len(SEGMENTS), count, p=_SHARES_OF_SEGMENTS),
        joins=joins,
        leaves=np.where(leaves > joins, leaves, days + 1),
        salary=(random.lognormal(7.9, 0.5, count) * 100).astype(np.int64) // 100 * 100,
        weight=1 / (rank + count / 20) ** 0.6,
        favourites=random.integers(0, MERCHANTS, (count, FAVOURITES)),
        balance=(random.lognormal(8.6, 0.9, count) * 100).astype(np.int64),
    )


def _day(bank: Bank, day: int, count: int) -> tuple[pa.Table, pa.Table]:
    """Return the transactions and the ledger entries of a day."""
    rows = _frauds(bank, day, count, _salaries(bank, day, count, _payments(bank, day, count)))
    order = np.lexsort((np.arange(len(rows["customer"])), rows["second"]))
    rows = {name: values[order] for name, values in rows.items()}
    after = _settle(bank, rows)
    return _transactions(bank, day, rows, after), _entries(bank, day, rows)


def _payments(bank: Bank, day: int, count: int) -> dict[str, np.ndarray]:
    """Return ordinary transactions: at favourite merchants, by day, at home."""
    random, people = bank.random, bank.people
    alive = customers_on(bank, day)
    weight = people.weight[alive]
    customer = random.choice(alive, count, p=weight / weight.sum())
    kind = random.choice(4, count, p=(0.6, 0.2, 0.1, 0.1))
    place = np.minimum(random.geometric(0.25, count), FAVOURITES) - 1
    merchant = people.favourites[customer, place]
    merchant = np.where(random.random(count) < 0.08, random.integers(0, MERCHANTS, count), merchant)
    usual = np.array([amount for _, _, amount in CATEGORIES])[bank.category[merchant]]
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
        "city": np.where(random.random(count) < 0.96, people.home[customer], random.integers(1, CITIES + 1, count)),
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


def _salaries(bank: Bank, day: int, count: int, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Replace ordinary transactions by the salaries of a day, at most half of them."""
    today = FIRST_DAY + timedelta(day)
    alive = customers_on(bank, day)
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


def _frauds(bank: Bank, day: int, count: int, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Add frauds, which their labels know: a burst of payments, or an account that is emptied after two failures."""
    random, people = bank.random, bank.people
    alive = customers_on(bank, day)
    victims = random.choice(alive, min(random.poisson(count * _FRAUDS), len(alive)), replace=False)
    victims = victims[people.balance[victims] > 100_000]
    gambling = np.flatnonzero(bank.category == 10)
    shop = gambling[0] if len(gambling) else 0
    for victim in victims.tolist():
        is_burst = random.random() < 0.5
        size = 6 if is_burst else 3
        city = int(people.home[victim]) % CITIES + 1
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


def _settle(bank: Bank, rows: dict[str, np.ndarray]) -> np.ndarray:
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
    bank.clearing += int(own.sum()) + int(rows["cents"][moved].sum())  # INTERNAL: debits minus credits
    return after


def _transactions(bank: Bank, day: int, rows: dict[str, np.ndarray], after: np.ndarray) -> pa.Table:
    random, count = bank.random, len(rows["customer"])
    rows["number"] = bank.number + 1 + np.arange(count)
    bank.number += count
    bank.truth["transactions"] += count
    labelled = (rows["label"] == 1) & (rows["status"] == _DONE)
    bank.truth["labelled"] += int(labelled.sum())
    milliseconds = np.minimum(random.lognormal(6.3, 0.8, count), 60_000).astype(np.int64)
    return pa.table(
        {
            "transaction_id": texts("T", rows["number"]),
            "transaction_time": times(day, rows["second"]),
            "customer_id": texts("", rows["customer"] + 1),
            "account_id": texts("", account_of(rows["customer"])),
            "related_account_id": texts("", account_of(rows["other"]), rows["other"] >= 0),
            "transaction_type": pa.array(_TYPES).take(pa.array(rows["kind"])),
            "amount": money(rows["cents"]),
            "currency": pa.array(["USD"] * count),
            "status": pa.array(_STATUSES).take(pa.array(rows["status"])),
            "merchant_id": texts("", rows["merchant"] + 501, rows["merchant"] >= 0),
            "channel_id": texts("", rows["channel"]),
            "city_id": texts("", rows["city"]),
            "processing_ms": texts("", milliseconds),
            "balance_after": money(after),
            "is_fraudulent": pa.array(np.where(labelled, "true", "")),
        }
    ).select(_COLUMNS)


def _entries(bank: Bank, day: int, rows: dict[str, np.ndarray]) -> pa.Table:
    """Return two entries for each completed transaction, a few of them wrong."""
    done = np.flatnonzero(rows["status"] == _DONE)
    rows = {name: values[done] for name, values in rows.items()}
    count, random = len(done), bank.random
    is_credit = rows["kind"] == _DEPOSIT
    account = account_of(rows["customer"])
    other = np.where(rows["other"] >= 0, account_of(rows["other"]), CLEARING)
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
            "entry_id": texts("E", numbers),
            "transaction_id": texts("T", np.repeat(rows["number"], 2)),
            "account_id": texts("", np.stack([account, other], 1).ravel()),
            "entry_type": sides.take(pa.array(np.stack([is_credit, ~is_credit], 1).ravel().astype(np.int64))),
            "amount": money(cents),
            "entry_time": times(day, np.repeat(rows["second"], 2)),
        }
    ).take(pa.array(kept))
    bank.truth["entries"] += table.num_rows
    return table


def _write_drops(bank: Bank, batch: list[tuple[pa.Table, pa.Table]], today: date, is_last: bool) -> None:
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
    write(bank, f"transactions/{today:%Y/%m}/transactions-{today}.csv", pa.concat_tables([rows, wrong]))
    write(bank, f"ledger_entries/{today:%Y/%m}/entries-{today}.csv", pa.concat_tables(table for _, table in batch))


def _completed(bank: Bank, rows: pa.Table, is_last: bool) -> list[pa.Table]:
    """Return the pending transactions as they come again with the next drop: cancelled, since nothing was booked."""
    if is_last:
        return []
    pending = rows.filter(pc.equal(rows["status"], "PENDING"))
    bank.truth["corrections"] += pending.num_rows
    place = rows.schema.get_field_index("status")
    return [pending.set_column(place, "status", pa.array(["CANCELLED"] * pending.num_rows, pa.string()))]


def _write_truth(bank: Bank, seed: int) -> dict[str, object]:
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
