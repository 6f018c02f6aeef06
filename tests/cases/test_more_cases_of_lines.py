"""Others of each kind of case, line by line: transactions, what comes again, guests, digits.

Each number is computed by hand; a line is 10.00 unless stated otherwise.
"""

import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import pytest
from support import oracle
from support.kit import SALES, Place, line, marts, sales
from support.oracle import Rules
from support.oracle_drops import Source
from support.retail import RETAIL

from marts.errors import UsageError
from marts.policy import read_policy

pytestmark = [pytest.mark.database, pytest.mark.usefixtures("on_the_server")]

NUMBERED = f"{SALES},line_no"
TERMINAL = f"{SALES},terminal"
PAID = f"{SALES},payment_mode"


@dataclass(frozen=True)
class Case:
    """Drops in the order of their delivery, and what must come out of one build."""

    name: str
    drops: Sequence[str]
    total: str
    """Of both marts; "customers / sales team" where they differ."""
    repeated: int = 0
    replaced: int = 0
    cents: int | None = None
    """Money of the repeated and replaced lines together."""
    policy: str = ""
    purchases: int | None = None
    """Of customer 1."""


def days(word: str) -> list[str]:
    """Return three drops of one line with an id: 10.00, 20.00, 30.00; were it one, the last would count alone."""
    return [sales(line(word, quantity=n)) for n in (1, 2, 3)]


def numbered(*rows: str) -> str:
    return sales(*rows, header=NUMBERED)


TEA, RICE, SALT = line(), line(product="rice"), line(product="salt")

IDENTITY = [
    # What is a transaction
    Case(
        "each terminal counts its own receipts; that of A is corrected to 30.00",
        [
            sales(f"{TEA},A", f"{TEA},B", header=TERMINAL),
            sales(f"{line(quantity=3)},A", header=TERMINAL),
        ],
        "40.00",
        replaced=1,
        cents=1000,
        policy='transaction_key = ["store_id", "day", "terminal"]',
        purchases=2,
    ),
    Case(
        "without the terminal in the key they are one transaction, and the later delivery has its product",
        [
            sales(f"{TEA},A", f"{TEA},B", header=TERMINAL),
            sales(f"{line(quantity=3)},A", header=TERMINAL),
        ],
        "30.00",
        replaced=2,
        cents=2000,
        purchases=1,
    ),
    Case(
        "a key may be the way of paying",
        [sales(f"{TEA},cash", header=PAID), sales(f"{line(quantity=2)},card", header=PAID)],
        "30.00",
        policy='transaction_key = ["store_id", "day", "payment_mode"]',
        purchases=2,
    ),
    Case(
        "a key may be the sales person",
        [sales(TEA), sales(line(person=2, quantity=2))],
        "30.00",
        policy='transaction_key = ["store_id", "day", "sales_person_id"]',
    ),
    Case(
        "a key without the day: a correction moves the sale to another month",
        [sales(line(day="2024-01-31")), sales(line(day="2024-02-01", quantity=2))],
        "20.00",
        replaced=1,
        policy='transaction_key = ["store_id"]',
        purchases=1,
    ),
    Case(
        "a key without the day: a basket over midnight, and over two months, is one purchase",
        [sales(line(day="2024-01-31"), line(product="rice", day="2024-02-01"))],
        "20.00",
        policy='transaction_key = ["store_id"]',
        purchases=1,
    ),
    Case(
        "a key without the store: the sale was booked to the wrong one",
        [sales(line(store=121)), sales(line(store=122, quantity=2))],
        "20.00",
        replaced=1,
        policy='transaction_key = ["day"]',
    ),
    Case(
        "an empty key: the number alone, over stores and days",
        [sales(line(store=121)), sales(line(store=122, day="2024-02-02", quantity=2))],
        "20.00",
        replaced=1,
        policy="transaction_key = []",
    ),
    Case("by default another store and another day are other transactions", [
        sales(TEA),
        sales(line(store=122, quantity=2)),
        sales(line(day="2024-01-11", quantity=3)),
    ], "60.00", purchases=3),
    Case("two customers never share one", [sales(TEA), sales(line(customer=2, quantity=2))], "30.00"),
    Case("ids are kept as they stand: t1 is not T1", [sales(TEA), sales(line("t1", quantity=2))], "30.00"),
    Case("ids are trimmed of any blank", [sales(TEA), sales(line("\u00a0T1\u2003", quantity=2))], "20.00", replaced=1),
    *(
        Case(f"{word!r} is no id", days(word), "60.00", purchases=3)
        for word in ("NULL", "nil", "None", "--", "0", "-", "n/a", "NA", "NaN", "Unknown", "  ")
    ),
    Case("000 is an id", days("000"), "30.00", replaced=2, purchases=1),
    Case("words of the policy are no ids, in any case", days("Cash"), "60.00", policy='no_ids = ["CASH"]'),
    Case("the policy's words stand for the default ones", days("nil"), "30.00", replaced=2, policy='no_ids = ["CASH"]'),
    Case("an empty id is none whatever the policy's words are", days(""), "60.00", policy='no_ids = ["CASH"]'),
    # What is delivered again
    Case(
        "refunds of two of three products come in a later file: 10 + 20 + 30 - 10 - 20",
        [
            sales(TEA, line(product="rice", quantity=2), line(product="salt", quantity=3)),
            sales(line(quantity=-1), line(product="rice", quantity=-2)),
        ],
        "30.00",
        purchases=1,
    ),
    Case("two of five are refunded later", [sales(line(quantity=5)), sales(line(quantity=-2))], "30.00", purchases=1),
    Case(
        "a file of refunds is saved again with a byte order mark: every row has an id, it is one delivery",
        [sales(line(quantity=5)), sales(line(quantity=-2)), "\ufeff" + sales(line(quantity=-2))],
        "30.00",
        repeated=1,
        cents=-2000,
    ),
    Case(
        "two refunds of one sale are no correction of each other: 50 - 20 - 10",
        [sales(line(quantity=5)), sales(line(quantity=-2)), sales(line(quantity=-1))],
        "20.00",
    ),
    Case("a basket in three files", [sales(TEA, RICE), sales(SALT), sales(line(product="oil"))], "40.00", purchases=1),
    Case(
        "a redelivery that lacks a product is a part, and warned of: 10 + 10 + 20",
        [sales(TEA, RICE), sales(line(quantity=2))],
        "40.00",
    ),
    Case(
        "a redelivery that lacks a product takes it away where whole transactions are redelivered",
        [sales(TEA, RICE), sales(line(quantity=2))],
        "20.00",
        replaced=2,
        policy='redelivered = "transaction"',
    ),
    Case(
        "where whole transactions are redelivered, a refund alone replaces the sale",
        [sales(TEA), sales(line(quantity=-1))],
        "-10.00",
        replaced=1,
        policy='redelivered = "transaction"',
    ),
    Case(
        "a redelivery that has a product more replaces: 20 + 10 + 10; the rice is the same",
        [sales(TEA, RICE), sales(line(quantity=2), RICE, SALT)],
        "40.00",
        repeated=1,
        replaced=1,
        cents=2000,
    ),
    Case("three deliveries of one sale: the last counts", days("T1"), "30.00", replaced=2, cents=3000, purchases=1),
    Case(
        "a correction is taken back by a third delivery: the first line counts again, in the third drop",
        [sales(TEA), sales(line(quantity=2)), sales(TEA, line("T2"))],
        "20.00",
        repeated=1,
        replaced=1,
        cents=3000,
    ),
    Case(
        "where drops add, all deliveries count",
        [sales(TEA), sales(line(quantity=2)), sales(line(quantity=3))],
        "60.00",
        policy='redelivered = "add"',
        purchases=1,
    ),
    Case(
        "of one delivery by parts and one whole one, the whole one counts: 20 + 20",
        [sales(TEA), sales(RICE), sales(line(quantity=2), line(product="rice", quantity=2))],
        "40.00",
        replaced=2,
    ),
    # Line numbers
    Case(
        "line 2 of three is corrected to 50.00",
        [numbered(f"{TEA},1", f"{RICE},2", f"{SALT},3"), numbered(f"{line(product='rice', quantity=5)},2")],
        "70.00",
        replaced=1,
        cents=1000,
        purchases=1,
    ),
    Case(
        "line 2 becomes another product",
        [numbered(f"{TEA},1", f"{RICE},2"), numbered(f"{line(product='oil', quantity=3)},2")],
        "40.00",
        replaced=1,
    ),
    Case("a fourth line comes later", [numbered(f"{TEA},1", f"{RICE},2", f"{SALT},3"), numbered(f"{TEA},4")], "40.00"),
    Case(
        "a refund with a number of its own is a line more",
        [numbered(f"{line(quantity=5)},1"), numbered(f"{line(quantity=-2)},2")],
        "30.00",
    ),
    Case(
        "numbered lines add where drops add: 10 + 20",
        [numbered(f"{TEA},1"), numbered(f"{line(quantity=2)},1")],
        "30.00",
        policy='redelivered = "add"',
    ),
    Case(
        "whole transactions replace numbered lines too",
        [numbered(f"{TEA},1", f"{RICE},2"), numbered(f"{line(quantity=2)},1")],
        "20.00",
        replaced=2,
        policy='redelivered = "transaction"',
    ),
    Case("of one number the last counts", [numbered(f"{TEA},1", f"{RICE},1", f"{SALT},2")], "20.00", replaced=1),
    Case("equal lines under one number in one drop are one", [numbered(f"{TEA},1", f"{TEA},1")], "10.00", repeated=1),
    Case("equal lines under two numbers are two", [numbered(f"{TEA},1", f"{TEA},2")], "20.00"),
    Case("01 is the number 1", [numbered(f"{TEA},1"), numbered(f"{line(quantity=2)},01")], "20.00", replaced=1),
    Case(
        "numbered and unnumbered lines go each by their own rule: 20 (number 1) + 10",
        [numbered(f"{TEA},1", f"{TEA},"), numbered(f"{line(quantity=2)},1")],
        "30.00",
        replaced=1,
    ),
    # Equal lines
    Case("three scans are three", [sales(TEA, TEA, TEA)], "30.00", purchases=1),
    Case("three scans are one where equal lines are dropped", [sales(TEA, TEA, TEA)], "10.00", repeated=2,
         policy='equal_lines = "drop"'),
    Case("equal lines without ids are kept all the same", [sales(line(""), line(""))], "20.00",
         policy='equal_lines = "drop"', purchases=2),
    Case("equal lines of two drops are no matter of one drop", [sales(TEA), sales(TEA, RICE)], "20.00", repeated=1),
    Case("two scans are corrected to one of two", [sales(TEA, TEA), sales(line(quantity=2))], "20.00", replaced=2),
    Case("two scans come again as one", [sales(TEA, TEA), sales(TEA, line("T2"))], "20.00", 1, 1, cents=2000),
    # Guests
    Case(
        "guests are empty, 0, -1 or a blank",
        [sales(TEA, *(line(f"G{n}", customer=who) for n, who in enumerate(("", "0", "-1", " "))))],
        "10.00 / 50.00",
    ),
    Case(
        "all guests are one customer for identity",
        [sales(line("G", customer=""), line("Z")), sales(line("G", customer=0, quantity=2))],
        "10.00 / 30.00",
        replaced=1,
    ),
    Case(
        "a guest who is known later is another customer: 10 + 10, and 10 of the guest",
        [sales(line("G", customer=""), line("Z")), sales(line("G"))],
        "20.00 / 30.00",
    ),
    Case("guests without ids are all kept", [sales(TEA, *[line("", customer="")] * 3)], "10.00 / 40.00"),
    Case(
        "the policy says who is unknown",
        [sales(TEA, line("T2", customer=6), line("T3", customer=""))],
        "10.00 / 30.00",
        policy="unknown_ids = [6]",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", IDENTITY, ids=lambda case: case.name)
def test_lines_are_counted_once_each(place: Place, case: Case) -> None:
    place.put_dimensions()
    for number, text in enumerate(case.drops):
        place.put(f"sales/{number}.csv", text)
    report = place.build(policy=read_policy(tomllib.loads(case.policy), "policy.toml", RETAIL))
    assert report.error is None
    first, _, second = case.total.partition(" / ")
    customers, team = place.mart("customers"), place.mart("sales_team")
    assert [sum(row[5] for row in customers), sum(row[4] for row in team)] == [Decimal(first), Decimal(second or first)]
    drops = [drop for drop in report.drops if drop.kind == "sales"]
    assert (sum(d.repeated for d in drops), sum(d.replaced for d in drops)) == (case.repeated, case.replaced)
    if case.cents is not None:
        assert 100 * sum(d.repeated_total + d.replaced_total for d in drops) == case.cents
    if case.purchases is not None:
        assert customers[0][9] == case.purchases
    assert all(d.rows_read == d.clean + d.quarantined + d.duplicates for d in drops)


@pytest.mark.parametrize("case", IDENTITY, ids=lambda case: case.name)
def test_the_row_by_row_calculation_agrees_with_the_numbers_reckoned_by_hand(case: Case) -> None:
    given = tomllib.loads(case.policy)
    rules = Rules(**{name: value if isinstance(value, str) else tuple(value) for name, value in given.items()})
    source = Source(rules)
    live = source.run({str(number): (number, text.encode()) for number, text in enumerate(case.drops)})
    lines = source.lines()
    first, _, second = case.total.partition(" / ")
    assert sum(line.total for line in lines if line.customer) == Decimal(first)
    assert sum(line.total for line in lines) == Decimal(second or first)
    whole = sum(text.count("\n") - 1 for n, text in enumerate(case.drops) if str(n) not in {d.place[1] for d in live})
    duplicates = oracle.duplicates([drop.lines for drop in live], rules)
    assert (whole + sum(n.repeated for n in duplicates), sum(n.replaced for n in duplicates)) == (
        case.repeated,
        case.replaced,
    )


@dataclass(frozen=True)
class Row:
    """One row beside a good one of 10.00: what it adds, or None where it goes to quarantine."""

    price: str
    quantity: str
    total: str
    adds: str | None
    policy: str = ""


ROWS = [
    Row("0.0125", "3", "0.04", "0.04"),  # 0.0375
    Row("10.00", "0.375", "3.75", "3.75"),
    Row("1.4590000", "10", "14.59", "14.59"),  # trailing zeros are no digits
    Row("1.4590001", "10", "14.59", None),  # seven digits
    Row("1.459001", "10", "14.59", "14.59"),  # six
    Row("10.00", "2.1234", "21.23", "21.23"),
    Row("10.00", "2.12340", "21.23", "21.23"),
    Row("10.00", "2.12345", "21.23", None),  # five digits of quantity
    Row("10.00", "0", "0.00", None),
    Row("10.00", "0.0000", "0.00", None),
    Row("0.005", "1", "0.01", "0.01"),  # half up
    Row("0.005", "1", "0.00", None),
    Row("0.005", "-1", "-0.01", "-0.01"),  # away from zero
    Row("0.005", "-1", "0.00", None),
    Row("2.675", "1", "2.68", "2.68"),  # a binary float gives 2.67
    Row("1.005", "1", "1.01", "1.01"),
    Row("1.459", "10.5", "15.32", "15.32"),  # 15.3195
    Row("1.459", "10.5", "15.31", None),
    Row("1.459", "10.5", "15.31", "15.31", 'total_cost_tolerance = "0.01"'),
    Row("1.459", "10.5", "15.320", "15.32"),
    Row("1.459", "10.5", "15.3195", None),  # four digits of money
    Row("-2.50", "1", "-2.50", "-2.50"),  # a coupon
    Row("-2.50", "1", "-2.50", None, "allow_returns = false"),
    Row("2.50", "-1", "-2.50", None, "allow_returns = false"),
    Row("0.000001", "0.0001", "0.00", "0.00"),
    Row("999999.999999", "1", "1000000.00", "1000000.00"),
]


@pytest.mark.parametrize("policy", sorted({row.policy for row in ROWS}))
def test_digits_count_as_the_contract_says(place: Place, policy: str) -> None:
    """Each row in a drop and a month of its own."""
    rows = {f"{2020 + n // 12}-{n % 12 + 1:02}": row for n, row in enumerate(ROWS) if row.policy == policy}
    place.put_dimensions()
    for month, row in rows.items():
        numbers = {"price": row.price, "quantity": row.quantity, "total": row.total}
        place.put(f"sales/{month}.csv", sales(line(f"T{month}", day=f"{month}-10", **numbers)))
        place.put(f"sales/{month}-good.csv", sales(line(f"G{month}", day=f"{month}-11")))
    report = place.build(policy=read_policy({"max_bad_ratio": 1, **tomllib.loads(policy)}, "policy.toml", RETAIL))
    assert report.error is None
    sums = {row[4]: row[5] for row in place.mart("customers")}
    assert sums == {month: Decimal("10.00") + Decimal(row.adds or 0) for month, row in rows.items()}
    bad = {drop.key for drop in report.drops if drop.quarantined}
    assert bad == {f"sales/{month}.csv" for month, row in rows.items() if row.adds is None}


@pytest.mark.parametrize(
    ("key", "day", "total"),
    [
        ('["store_id"]', "2024-04-01", "10.00"),  # the correction is after as_of, and the sale is no longer there
        ('["store_id", "day"]', "2024-04-01", "20.00"),  # another day is another sale; it is left out
        ('["store_id"]', "2024-03-31", "60.00"),  # the correction of 50.00 counts
    ],
)
def test_identity_is_settled_before_as_of_leaves_lines_out(place: Place, key: str, day: str, total: str) -> None:
    place.put_dimensions()
    place.put("sales/1.csv", sales(line("T0"), line(day="2024-03-30")))
    place.put("sales/2.csv", sales(line(day=day, quantity=5)))
    report = place.build(policy=read_policy({"transaction_key": json_list(key)}, "policy.toml", RETAIL))
    assert report.error is None
    assert sum(row[5] for row in place.mart("customers")) == Decimal(total)
    place.build(as_of=date(2024, 4, 1), policy=read_policy({"transaction_key": json_list(key)}, "policy.toml", RETAIL))
    later = {"10.00": "60.00", "20.00": "70.00", "60.00": "60.00"}[total]
    assert sum(row[5] for row in place.mart("customers")) == Decimal(later)


def json_list(text: str) -> list[str]:
    values: list[str] = tomllib.loads(f"a = {text}")["a"]
    return values


@pytest.mark.parametrize(
    ("drops", "word"),
    [
        ([sales(TEA, RICE), sales(line(quantity=2))], "overlap|several times"),
        ([sales(TEA), numbered(f"{TEA},1")], "overlap|several times"),
        ([numbered(f"{TEA},1"), sales(RICE)], "overlap|several times"),
        ([sales(TEA), sales(line(quantity=2))], "replaced"),  # without a line number, with its number and money
        ([sales(TEA, TEA)], "equal"),
        ([numbered(f"{TEA},1", f"{RICE},1")], "same number|same line_no|number of another"),
    ],
)
def test_what_may_be_a_mistake_is_warned_of(place: Place, drops: list[str], word: str) -> None:
    place.put_dimensions()
    for number, text in enumerate(drops):
        place.put(f"sales/{number}.csv", text)
    assert any(re.search(word, warning.lower()) for warning in place.build().warnings)


@pytest.mark.parametrize("column", ["price", "quantity", "total_cost"])
def test_a_transaction_key_is_none_of_the_amounts(column: str) -> None:
    with pytest.raises(UsageError, match=f"{column} cannot be part of it"):
        read_policy({"transaction_key": ["store_id", column]}, "policy.toml", RETAIL)


@pytest.mark.parametrize("second", ["2024-01-10 10:00:00", " 2024-01-10T10:00 ", "2024-01-10T10:00:00.00"])
def test_one_moment_in_other_words_is_the_same_line(place: Place, second: str) -> None:
    place.put_dimensions()
    place.put("sales/a.csv", sales(line(day="2024-01-10T10:00:00"), RICE))
    place.put("sales/b.csv", sales(line(day=second), RICE, line("T2")))
    report = place.build()
    assert (report.totals.repeated, report.totals.replaced) == (2, 0)


def test_what_replaced_a_line_is_shown_whole(place: Place) -> None:
    """Both of two equal lines count, and both are shown."""
    place.put_dimensions()
    place.put("sales/a.csv", sales(TEA))
    place.put("sales/b.csv", sales(line(quantity=2), line(quantity=2)))
    place.build()
    entries = json.loads(marts("history", "--replaced", "b.csv", "--json", *place.flags).stdout)
    assert sorted(entry["fate"] for entry in entries) == ["counts", "counts", "replaced"]


@pytest.mark.parametrize("column", ["till", "stor_id", "total_costs"])
def test_a_transaction_key_that_no_drop_has_is_named(place: Place, column: str) -> None:
    """A misspelt key would make one transaction of many without a word."""
    place.put_dimensions()
    place.put("sales/a.csv", sales(TEA))
    report = place.build(policy=read_policy({"transaction_key": [column]}, "policy.toml", RETAIL))
    assert column in f"{report.error} {report.warnings}"
