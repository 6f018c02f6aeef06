"""Generate realistic drops: customers with lives, seasons, baskets, returns, planted faults, late and dirty rows.

The same lines and seed write the same bytes. Files beside the drops describe the input, to compare it with the result
of a build: `generated.json` (counts), `bad_rows.csv` (quarantine), `planted.csv` (anomalies).
"""

import csv
import gzip
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from marts.packs import shipped
from marts.retail import masters
from marts.retail.lives import PEOPLE_PER_STORE, Calendar, Fault, draw, plant, unplanted

FIRST_DAY, LAST_DAY = date(2024, 1, 1), date(2025, 12, 31)
CUSTOMERS = 20_000
_CALENDAR = Calendar(FIRST_DAY, (LAST_DAY - FIRST_DAY).days + 1, outage=(LAST_DAY - FIRST_DAY).days - 22)
_LINES_PER_STORE, _FEWEST_STORES, _MOST_STORES = 60_000, 5, 50
_DIRTY = 0.003
_REPEATED = 0.001
_LATE = 0.004
_NEAR = 7
"""How many products, by price, the lines of a basket are away from what the customer prefers, at most."""
_GOODS = "rice,wheat flour,refined oil,sugar,tea,coffee,oats,lentils,soap,shampoo,toothpaste,milk,butter,honey,pasta"
_SIZES = ("250 g", "500 g", "1 kg", "family pack")


@dataclass(frozen=True)
class _Lines:
    """All good lines, one array per column, in the order of their dates."""

    basket: np.ndarray
    line_no: np.ndarray
    customer: np.ndarray
    store: np.ndarray
    product: np.ndarray
    day: np.ndarray
    person: np.ndarray
    cents: np.ndarray
    quantity: np.ndarray
    payment: np.ndarray

    def take(self, rows: np.ndarray) -> "_Lines":
        return _Lines(*(values[rows] for values in vars(self).values()))


_PLANTED = ["entity", "entity_id", "store_id", "day", "measure", "reason"]
_NUMBERED_FROM = 366
"""First day with numbered lines, in days from FIRST_DAY."""
_WRONG_VALUES: dict[str, dict[str, str]] = {
    "customer_id is not a whole number": {"customer_id": "C-17"},
    "customer_id is -5": {"customer_id": "-5"},
    "store_id is empty": {"store_id": ""},
    "product_name is empty": {"product_name": ""},
    "sales_date is not an ISO date": {"sales_date": "31/12/2024"},
    "sales_date is no day of the calendar": {"sales_date": "2024-02-30"},
    "sales_person_id is not a whole number": {"sales_person_id": "n/a"},
    "sales_person_id is 0": {"sales_person_id": "0"},
    "price has 7 digits after the point": {"price": "9.9999991"},
    "quantity is 0": {"quantity": "0"},
    "quantity is a word": {"quantity": "two"},
    "total_cost is not price * quantity": {"total_cost": "0.01"},
    "a quote is not closed": {"product_name": '"tea'},
    "a NUL byte": {"product_name": "tea\0"},
    "not UTF-8": {"product_name": "caf\udcff"},
}
_WRONG_WIDTH: dict[str, Callable[[str], str]] = {
    "a field is missing": lambda row: row.rpartition(",")[0],
    "a field is too many": lambda row: row + ",x",
}
_KINDS = [*_WRONG_VALUES, *_WRONG_WIDTH]
_VALUES = [kind for kind in _WRONG_VALUES if kind not in ("a quote is not closed", "a NUL byte", "not UTF-8")]


def generate(
    folder: Path,
    lines: int,
    seed: int,
    progress: Callable[[], None] = lambda: None,
    customers: int = CUSTOMERS,
    plain: bool = False,
) -> dict[str, object]:
    """Write drops under a folder. Return what was generated. ``lines`` counts rows of all sales drops but the copy.

    Any CSV reader can read ``plain`` drops: the same columns everywhere, no gzip, no copy, rows with wrong values
    only, and names in the order of delivery.
    """
    random = np.random.default_rng(seed)
    dirty, repeated = max(int(lines * _DIRTY), 17), max(int(lines * _REPEATED), 1)
    stores = _stores_for(lines)
    good, faults = _make_lines(random, lines - dirty - repeated, customers, stores)
    unit = _unit(lines)
    drops = good.day // unit * unit
    late = (random.random(int(np.abs(good.basket).max()) + 1) < _LATE)[np.abs(good.basket)]
    names = np.unique(drops[~late])
    numbered = (names >= _NUMBERED_FROM) | plain
    dirt, again = _spread(random, dirty, len(names)), np.zeros(len(names), np.int64)
    again[numbered] = _spread(random, repeated, int(numbered.sum()))  # without a number, equal lines are two sales
    kinds: Counter[str] = Counter(dict.fromkeys(_VALUES if plain else _KINDS, 0))
    written: list[Path] = []
    bad: list[tuple[str, int, str]] = []
    for number, first in enumerate(names.tolist()):
        rows = np.flatnonzero((drops == first) & ~late)
        rows = np.sort(np.concatenate([rows, random.choice(rows, again[number])]))
        style = (
            _PLAIN
            if plain
            else _Style(bool(numbered[number]), bool(numbered[number]), number % 7 == 3, number % 10 == 7)
        )
        text, broken = _with_dirt(random, _as_csv(good.take(rows), style), int(dirt[number]), kinds)
        path = folder / "sales" / f"{_file_name(first, unit)}.csv{'.gz' if style.gzip else ''}"
        bad += [(path.relative_to(folder).as_posix(), line, kind) for line, kind in broken]
        _write(path, text, FIRST_DAY + timedelta(days=first + unit))
        written.append(path)
        progress()
    style = _PLAIN if plain else _Style()
    _write_late(folder, good.take(np.flatnonzero(late)), style)
    last = FIRST_DAY + timedelta(days=int(names[-1]) + unit)
    delivered = max(last, LAST_DAY) + timedelta(days=1) if plain else LAST_DAY
    style = replace(style, line_no=True)
    with_numbers = np.flatnonzero(~late & ((drops >= _NUMBERED_FROM) | plain))
    corrected = _write_corrections(folder, random, good.take(with_numbers), style, delivered)
    copied_lines = 0
    if not plain:
        copied = next(path for path in written[len(written) // 3 :] if path.suffix == ".csv")
        _write(copied.with_name(f"{copied.stem} (copy).csv"), copied.read_bytes(), LAST_DAY)
        copied_lines = copied.read_bytes().count(b"\n") - 1
    _write_dimensions(folder, random, customers, stores)
    truth: dict[str, object] = {
        "lines": lines + corrected,
        "dirty": dict(sorted(kinds.items())),
        "quarantined": sum(kinds.values()),
        "duplicates": repeated + corrected,
        "copies": int(not plain),
        "copied_lines": copied_lines,
        "planted": len(faults),
        "as_of": LAST_DAY.isoformat(),
    }
    with (folder / "bad_rows.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("drop", "line", "kind"), *bad])
    _write(folder / "planted.csv", _text_of([_PLANTED, *map(_planted, faults)]), LAST_DAY)
    (folder / "generated.json").write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")
    return truth


def clean_tables(lines: int, seed: int) -> dict[str, dict[str, bytes]]:
    """Return drops without bad or repeated rows as CSV: of sales by month, of each dimension one, by kind."""
    random = np.random.default_rng(seed)
    buyers, stores = lines // 10 + 10, _stores_for(lines)
    good, _ = _make_lines(random, lines, buyers, stores, with_faults=False)
    months = (np.datetime64(FIRST_DAY, "D") + good.day.astype("timedelta64[D]")).astype("datetime64[M]")
    drops = {str(month): _as_csv(good.take(np.flatnonzero(months == month)), _PLAIN) for month in np.unique(months)}
    tables = (
        masters.customers(np.arange(1, buyers + 1)),
        masters.stores(stores),
        masters.people(np.arange(1, stores * PEOPLE_PER_STORE + 1)),
    )
    return dict(zip(shipped("retail").kinds, (drops, *({"": _text_of(rows)} for rows in tables)), strict=False))


def _stores_for(lines: int) -> int:
    """Return the number of stores: fewer for fewer lines, so that each has sales on most days."""
    return min(max(lines // _LINES_PER_STORE, _FEWEST_STORES), _MOST_STORES)


def _make_lines(
    random: np.random.Generator, count: int, customers: int, stores: int, with_faults: bool = True
) -> tuple[_Lines, tuple[Fault, ...]]:
    """Draw the lines of baskets. Return them, and the planted faults."""
    baskets = count // 2 + 10
    sizes = np.cumsum(1 + random.poisson(1.4, baskets))
    baskets = int(np.searchsorted(sizes, count)) + 1
    basket = np.searchsorted(sizes[:baskets], np.arange(count), side="right")
    drawn = draw(random, baskets, customers, stores, _CALENDAR)
    sold, planted = plant(random, drawn, stores, _CALENDAR) if with_faults else (drawn, unplanted(drawn))
    payment = random.integers(0, 3, baskets)
    names = len(_products())
    prices = np.sort(random.integers(99, 15_000, names))
    first = np.concatenate([[0], sizes[: baskets - 1]])
    line_no = np.arange(count) - first[basket] + 1
    taste = (random.beta(2.0, 2.0, customers)[sold.customer] + random.normal(0, 0.1, baskets)) * names
    dearer = line_no * 7 % (2 * _NEAR + 1) - _NEAR  # no product twice in a basket
    product = np.clip(taste, _NEAR, names - _NEAR - 1).astype(np.int64)[basket] + dearer
    quantity = np.minimum(random.geometric(0.55, count), 12) * planted.quantity[basket]
    returned = random.random(count) < planted.returned[basket]
    return _Lines(
        basket=np.where(returned, -basket - 1, basket + 1),
        line_no=line_no,
        customer=sold.customer[basket] + 1,
        store=sold.store[basket] + masters.FIRST_STORE,
        product=product,
        day=sold.day[basket],
        person=sold.person[basket] + 1,
        cents=(prices[product] * random.choice([100, 100, 100, 90, 80], count)) // 100,
        quantity=np.where(returned, -1, quantity),
        payment=payment[basket],
    ), planted.faults


def _planted(fault: Fault) -> list[str]:
    """Return the key and the reason of the row of a planted fault; ids as in the drops, 0 stands for none."""
    first = masters.FIRST_STORE if fault.entity == "store" else 1
    day = FIRST_DAY + timedelta(days=fault.day)
    store = fault.store + masters.FIRST_STORE if fault.store >= 0 else 0
    return [
        fault.entity,
        str(max(fault.entity_id + first, 0)),
        str(store),
        day.isoformat(),
        fault.measure,
        fault.reason,
    ]


def _products() -> list[str]:
    return [f"{good} {size}" for good in _GOODS.split(",") for size in _SIZES]


def _unit(lines: int) -> int:
    """Return the days per drop: a drop should contain some hundred lines."""
    days = _CALENDAR.days
    return 1 if lines / days >= 500 else 7 if lines / days * 7 >= 500 else 30


def _file_name(day: int, unit: int) -> str:
    first = FIRST_DAY + timedelta(days=day)
    return f"{first:%Y/%m}/sales-{first}" + ("" if unit == 1 else f"-{unit}-days")


def _spread(random: np.random.Generator, count: int, places: int) -> np.ndarray:
    """Spread a count over places as evenly as possible, so that no drop is bad enough to be held."""
    shares = np.full(places, count // places)
    shares[random.permutation(places)[: count % places]] += 1
    return shares


@dataclass(frozen=True)
class _Style:
    """How a drop is written."""

    extra: bool = False
    """Whether it has a column that the schema does not know."""
    line_no: bool = False
    shuffled: bool = False
    """Whether its columns have another order and case."""
    gzip: bool = False


_PLAIN = _Style(line_no=True)


def _as_csv(lines: _Lines, style: _Style) -> bytes:
    """Write lines as CSV."""
    ids = pa.array(np.abs(lines.basket)).cast(pa.string())
    prefix = pc.if_else(pa.array(lines.basket < 0), "R", "T")
    cents = pa.array(lines.cents)
    columns = {
        "transaction_id": pc.binary_join_element_wise(prefix, pc.utf8_lpad(ids, 9, "0"), ""),
        "line_no": pa.array(lines.line_no),
        "customer_id": pa.array(lines.customer),
        "store_id": pa.array(lines.store),
        "product_name": pa.array(_products()).take(pa.array(lines.product)),
        "sales_date": pa.array(np.datetime64(FIRST_DAY, "D") + lines.day.astype("timedelta64[D]")),
        "sales_person_id": pa.array(lines.person),
        "price": _decimal(cents),
        "quantity": pa.array(lines.quantity),
        "total_cost": _decimal(pc.multiply(cents, pa.array(lines.quantity))),
        "payment_mode": pa.array(["card", "cash", "transfer"]).take(pa.array(lines.payment)),
    }
    if not style.line_no:
        del columns["line_no"]
    if style.extra:
        promotions = pa.array(["SPRING", None, None, None, "5-FOR-4"])
        columns["promotion"] = promotions.take(pa.array(lines.product % 5))
    names = sorted(columns) if style.shuffled else list(columns)
    table = pa.table({name.upper() if style.shuffled else name: columns[name] for name in names})
    header = b",".join(name.encode() for name in table.column_names) + b"\n"
    sink = pa.BufferOutputStream()
    pacsv.write_csv(table, sink, pacsv.WriteOptions(include_header=False, quoting_style="none"))
    rows: bytes = sink.getvalue().to_pybytes()
    return header + rows


def _decimal(cents: pa.Array) -> pa.Array:
    return pc.multiply(cents.cast(pa.decimal128(19, 0)), pa.scalar(Decimal("0.01"))).cast(pa.decimal128(18, 2))


def _with_dirt(
    random: np.random.Generator, text: bytes, count: int, kinds: Counter[str]
) -> tuple[bytes, list[tuple[int, str]]]:
    """Insert broken rows at random places; each is a good row broken in one way, all ways in turn.

    Return the text, and line and kind of each broken row.
    """
    if not count:
        return text, []
    header, *good = text.decode().splitlines()
    names = header.lower().split(",")
    rows: list[tuple[str, str]] = [(row, "") for row in good]
    for _ in range(count):
        kind = list(kinds)[sum(kinds.values()) % len(kinds)]
        kinds[kind] += 1
        row = good[int(random.integers(len(good)))]
        rows.insert(int(random.integers(len(rows) + 1)), (_broken(row, names, kind), kind))
    broken = [(line, kind) for line, (_, kind) in enumerate(rows, 2) if kind]
    return "\n".join([header, *(row for row, _ in rows), ""]).encode("utf-8", "surrogateescape"), broken


def _broken(row: str, names: list[str], kind: str) -> str:
    if kind in _WRONG_WIDTH:
        return _WRONG_WIDTH[kind](row)
    values = dict(zip(names, row.split(","), strict=True)) | _WRONG_VALUES[kind]
    return ",".join(values[name] for name in names)


def _write_late(folder: Path, lines: _Lines, style: _Style) -> None:
    """Deliver whole baskets some days after the end of their month."""
    days = np.datetime64(FIRST_DAY, "D") + lines.day.astype("timedelta64[D]")
    months = days.astype("datetime64[M]")
    for month in np.unique(months):
        delivered = (month + 1).astype("datetime64[D]").item() + timedelta(days=10)
        text = _as_csv(lines.take(np.flatnonzero(months == month)), style)
        _write(folder / "sales" / "late" / f"late-{month}.csv", text, delivered)


def _write_corrections(folder: Path, random: np.random.Generator, lines: _Lines, style: _Style, delivered: date) -> int:
    """Deliver some baskets again with one more piece per line. Return the number of lines."""
    bought = np.unique(lines.basket[lines.basket > 0])
    chosen = random.choice(bought, min(25, len(bought)), replace=False)
    corrected = lines.take(np.flatnonzero(np.isin(lines.basket, chosen)))
    more = replace(corrected, quantity=corrected.quantity + 1)
    _write(folder / "sales" / "corrections" / "corrections-2025-12.csv", _as_csv(more, style), delivered)
    return len(corrected.basket)


def _write_dimensions(folder: Path, random: np.random.Generator, count: int, stores: int) -> None:
    """Write the dimensions; some customers and the newest sales person are still missing."""
    customers = np.flatnonzero(random.random(count) >= 0.002) + 1
    people = np.arange(1, stores * PEOPLE_PER_STORE)
    half = customers[: len(customers) // 2]
    _write_rows(folder / "customers" / "customers-2024-12.csv", masters.customers(half), date(2024, 12, 31))
    _write_rows(folder / "customers" / "customers-2025-12.csv", masters.customers(customers), LAST_DAY)
    _write_rows(folder / "sales_team" / "sales_team.csv", masters.people(people), LAST_DAY)
    _write_rows(folder / "stores" / "stores.csv", masters.stores(stores), LAST_DAY)
    products = [
        [str(n + 1), name, "10.00", "9.50", "2023-12-01", "2025-01-01", ""] for n, name in enumerate(_products())
    ]
    header = "id,name,current_price,old_price,created_date,updated_date,expiry_date"
    _write_rows(folder / "products" / "products.csv", [header.split(","), *products], LAST_DAY)


def _write_rows(path: Path, rows: list[list[str]], delivered: date) -> None:
    _write(path, _text_of(rows), delivered)


def _text_of(rows: list[list[str]]) -> bytes:
    return "".join(",".join(row) + "\n" for row in rows).encode()


def _write(path: Path, text: bytes, delivered: date) -> None:
    """Write a file with the time of its delivery: 03:00 UTC of that day."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text, 5, mtime=0) if path.suffix == ".gz" else text)
    stamp = datetime(delivered.year, delivered.month, delivered.day, 3, tzinfo=UTC).timestamp()
    os.utime(path, (stamp, stamp))
