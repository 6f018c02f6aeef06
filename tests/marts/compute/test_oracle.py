"""The row-by-row calculation itself: the golden case, and small cases whose results are plain to see."""

from decimal import Decimal

import pytest
from support import oracle
from support.kit import AS_OF, GOLDEN, SALES, as_golden, golden, line, sales
from support.oracle import Rules
from support.retail import MARTS

PEOPLE = {1: "Asha Rao", 2: "Ben Iyer", 3: "Chitra Das", 4: "Dev Nair", 5: "Eva Roy", 6: "Farid Khan"}
TEAM = {1: "Rahul Verma", 2: "Priya Singh", 3: "Amit Sharma", 4: "Mina Paul"}
NUMBERED = f"{SALES},line_no"


def counted(*drops: str, **rules: object) -> Decimal:
    """Return the sum of the lines that count."""
    chosen = Rules(**rules)  # type: ignore[arg-type]
    lines = oracle.live_lines([oracle.read_lines(text, chosen) for text in drops], chosen)
    return sum((line.total for line in lines), Decimal(0))


def fates(*drops: str, **rules: object) -> list[tuple[int, int]]:
    """Return how many lines of each drop are repeated, and replaced."""
    chosen = Rules(**rules)  # type: ignore[arg-type]
    results = oracle.duplicates([oracle.read_lines(text, chosen) for text in drops], chosen)
    return [(drop.repeated, drop.replaced) for drop in results]


@pytest.mark.parametrize("name", ["customers", "sales_team"])
def test_the_golden_marts_come_out_exactly(name: str) -> None:
    drops = [oracle.read_lines((GOLDEN / f"golden_input{n}.csv").read_text()) for n in ("", "_2")]
    lines = oracle.live_lines(drops)
    rows = {
        "customers": oracle.customers_mart(lines, {n: oracle.Person(who) for n, who in PEOPLE.items()}, AS_OF),
        "sales_team": oracle.sales_team_mart(lines, {n: oracle.Person(who) for n, who in TEAM.items()}, AS_OF),
    }[name]
    wanted = golden(name)
    assert as_golden(rows, [column.name for column in MARTS[name].columns], list(wanted[0])) == wanted


def test_the_corrected_petrol_is_the_one_line_of_the_golden_case_that_is_replaced() -> None:
    drops = [oracle.read_lines((GOLDEN / f"golden_input{n}.csv").read_text()) for n in ("", "_2")]
    assert oracle.duplicates(drops) == [oracle.Duplicates(0, 1, 0, 1532), oracle.Duplicates()]


@pytest.mark.parametrize(
    ("key", "sum_"),
    [
        (("store_id", "day"), 40),  # another store, another day: four purchases
        (("store_id",), 20),  # the later day has all of the earlier one's products
        (("day",), 20),
        ((), 10),
        (("store_id", "day", "payment_mode"), 50),  # two tills of a store count the same numbers
    ],
)
def test_a_transaction_is_what_its_key_says(key: tuple[str, ...], sum_: int) -> None:
    header = f"{SALES},payment_mode"
    drops = [
        sales(line("1", store=store, day=day) + ",cash", header=header)
        for day in ("2024-01-05", "2024-01-06")
        for store in (121, 122)
    ]
    drops.append(sales(line("1", store=122, day="2024-01-06") + ",card", header=header))
    assert counted(*drops, transaction_key=key) == sum_


@pytest.mark.parametrize("word", ["", "0", "-", "--", "N/A", "na", "NULL", "None", "nil", "NaN", " Unknown "])
def test_a_placeholder_is_no_id(word: str) -> None:
    assert counted(*[sales(line(word), line(word))] * 3) == 60


def test_no_ids_are_the_policy_s_words_in_any_case() -> None:
    drops = [sales(line("cash")), sales(line("CASH"))]
    assert (counted(*drops), counted(*drops, no_ids=frozenset({"Cash"}))) == (20, 20)
    assert (counted(drops[0], drops[0]), counted(drops[0], drops[0], no_ids=frozenset({"Cash"}))) == (10, 20)


def test_customers_never_share_a_transaction_but_guests_do() -> None:
    assert counted(sales(line(customer=1)), sales(line(customer=2))) == 20
    assert counted(sales(line(customer="")), sales(line(customer=0)), sales(line(customer=-1))) == 10


@pytest.mark.parametrize(
    ("later", "sum_", "fate"),
    [
        ([line(quantity=2)], 40, (0, 0)),  # the rice is not there: a basket in two parts
        ([line(), line(product="rice")], 20, (2, 0)),
        ([line(), line(product="rice", quantity=3)], 40, (1, 1)),
        ([line(), line(product="rice"), line(product="salt")], 30, (2, 0)),
        ([line(quantity=-1), line(product="rice", quantity=-1)], 0, (0, 0)),  # refunds only
        ([line(quantity=-1), line(), line(product="rice")], 10, (2, 0)),  # a correction that has a refund as well
    ],
)
def test_a_later_delivery_replaces_what_it_has_all_of(later: list[str], sum_: int, fate: tuple[int, int]) -> None:
    first = sales(line(), line(product="rice"))
    assert counted(first, sales(*later)) == sum_
    assert fates(first, sales(*later))[0] == fate


def test_one_of_three_deliveries_may_be_replaced_alone() -> None:
    parts = [sales(line(product="tea")), sales(line(product="rice")), sales(line(product="rice", quantity=2))]
    assert (counted(*parts), fates(*parts)) == (30, [(0, 0), (0, 1), (0, 0)])


def test_what_counts_in_the_end_distinguishes_repeated_from_replaced() -> None:
    assert fates(sales(line()), sales(line(quantity=2)), sales(line())) == [(1, 0), (0, 1), (0, 0)]


def test_redelivered_is_the_policy_s_choice() -> None:
    drops = [sales(line(), line(product="rice")), sales(line(product="salt"))]
    totals = {name: counted(*drops, redelivered=name) for name in ("line", "transaction", "add")}
    assert totals == {"line": 30, "transaction": 10, "add": 30}
    assert {name: counted(drops[0], drops[0], redelivered=name) for name in totals} == {
        "line": 20,
        "transaction": 20,
        "add": 40,
    }


def test_a_numbered_line_replaces_its_number_and_the_others_stay() -> None:
    first = sales(line() + ",1", line(product="rice") + ",2", header=NUMBERED)
    later = sales(line(product="salt", quantity=3) + ",02", header=NUMBERED)
    assert (counted(first, later), fates(first, later)) == (40, [(0, 1), (0, 0)])


def test_numbered_and_unnumbered_lines_go_each_by_their_own_rule() -> None:
    first = sales(line() + ",1", line() + ",", header=NUMBERED)
    assert (counted(first, sales(line(quantity=2))), fates(first, sales(line(quantity=2)))) == (30, [(0, 1), (0, 0)])


def test_of_one_number_in_one_drop_the_last_counts() -> None:
    drop = sales(line() + ",1", line(quantity=2) + ",1", header=NUMBERED)
    assert (counted(drop), fates(drop)) == (20, [(0, 1)])
    assert fates(sales(line() + ",1", line() + ",1", header=NUMBERED)) == [(1, 0)]


def test_equal_lines_of_a_drop_are_kept_unless_the_policy_drops_them() -> None:
    drop = sales(line(), line(), line(""), line(""))
    assert (counted(drop), counted(drop, equal_lines="drop"), fates(drop, equal_lines="drop")) == (40, 30, [(1, 0)])


def test_identity_is_settled_before_as_of_leaves_lines_out() -> None:
    """A correction that is dated after as_of takes the sale with it, where the day is no part of the key."""
    rules = Rules(transaction_key=("store_id",))
    drops = [sales(line(day="2024-03-31")), sales(line(day="2024-04-01"))]
    lines = oracle.live_lines([oracle.read_lines(text, rules) for text in drops], rules)
    assert oracle.customers_mart(lines, {}, AS_OF) == []


def test_guests_are_in_the_sales_team_mart_alone() -> None:
    lines = oracle.read_lines(sales(line("A"), line("B", customer=""), line("C", customer=0), line("D", customer=-1)))
    (customer,), (person,) = oracle.customers_mart(lines, {}, AS_OF), oracle.sales_team_mart(lines, {}, AS_OF)
    assert (customer[5], person[4], person[13]) == (10, 40, 4)


def test_equal_rows_are_equal_by_value_whatever_their_order_of_columns() -> None:
    turned = "total_cost,quantity,price,sales_person_id,sales_date,product_name,store_id,customer_id,transaction_id"
    (first,) = oracle.read_lines(sales(line()))
    (second,) = oracle.read_lines(f"\ufeff{turned}\r\n10,1.0,10.000,01,2024-01-10, tea ,121,1,T1 \r\n")
    assert first == second
