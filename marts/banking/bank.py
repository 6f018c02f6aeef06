"""What a generated bank consists of, and how its drops are written."""

from collections import Counter
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
FAVOURITES, MERCHANTS, CITIES = 12, 400, 25
CATEGORIES = (
    ("Supermarket", "5411", 42), ("Restaurant", "5812", 28), ("Fuel", "5541", 55), ("Clothing", "5651", 70),
    ("Pharmacy", "5912", 25), ("Electronics", "5732", 240), ("Travel", "4722", 380), ("Utilities", "4900", 95),
    ("Streaming", "4899", 12), ("Books", "5942", 22), ("Gambling", "7995", 60), ("Money Transfer", "4829", 150),
)  # fmt: skip
"""Category, its code, and a usual amount."""
CHANNELS = (("Mobile", "0.50"), ("Card", "1.20"), ("Branch", "0.00"), ("Transfer", "0.25"))
SEGMENTS = ("Retail", "SMB", "Premium", "Corporate")


@dataclass
class People:
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
class Bank:
    """What has been generated so far."""

    folder: Path
    random: np.random.Generator
    people: People
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


def customers_on(bank: Bank, day: int) -> np.ndarray:
    """Return the customers who have an account on a day."""
    people = bank.people
    return np.flatnonzero((people.joins <= day) & (people.leaves > day))


def account_of(customer: np.ndarray) -> np.ndarray:
    """Return the ids of the accounts of customers."""
    return 1_000_000_000 + customer


def texts(start: str, numbers: np.ndarray, given: np.ndarray | None = None) -> pa.Array:
    """Return numbers as texts; an empty one where none is given."""
    texts = pc.cast(pa.array(numbers.astype(np.int64)), pa.string())
    if start:
        texts = pc.binary_join_element_wise(start, texts, "")
    return texts if given is None else pc.if_else(pa.array(given), texts, "")


def money(cents: np.ndarray) -> pa.Array:
    """Return cents as texts with two digits after the point."""
    size = np.abs(cents.astype(np.int64))
    whole = pc.cast(pa.array(size // 100), pa.string())
    rest = pc.utf8_lpad(pc.cast(pa.array(size % 100), pa.string()), 2, "0")
    sign = pa.array(np.where(cents < 0, "-", ""))
    return pc.binary_join_element_wise(sign, pc.binary_join_element_wise(whole, rest, "."), "")


def times(day: int, seconds: np.ndarray) -> pa.Array:
    """Return the times of a day as texts."""
    start = np.datetime64(FIRST_DAY + timedelta(day), "s")
    return pc.strftime(pa.array(start + seconds.astype("timedelta64[s]")), "%Y-%m-%dT%H:%M:%S")


def write(bank: Bank, key: str, table: pa.Table) -> None:
    """Write a drop as CSV."""
    path = bank.folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    pacsv.write_csv(table, path, pacsv.WriteOptions(quoting_style="none"))


def write_rows(bank: Bank, key: str, names: tuple[str, ...], rows: list[Any]) -> None:
    """Write rows as a drop."""
    columns = zip(*rows, strict=True)
    write(bank, key, pa.table({name: pa.array(map(str, values)) for name, values in zip(names, columns, strict=True)}))
