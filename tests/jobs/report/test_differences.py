"""What differs between two publications: an independent program that applies it to the rows before has those after."""

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from support.kit import CUSTOMERS, Place, line, sales
from support.retail import CUSTOMERS_MART, RETAIL
from support.servers import SqlServer

from jobs.ports.differences import Comparison, RowDifference
from jobs.ports.records import Decision, Generation, Rollback
from jobs.report.differences import Differences, DropChange, MartDifference, differences
from marts.compute.engine import mart_schema
from marts.errors import UsageError
from marts.policy import Policy

PEOPLE = range(1, 41)
EVERY = 10**6
OF_THE_LEDGER = pytest.mark.parametrize("empty", ["duckdb"], indirect=True)
"""What is said of drops and publications is the same for each database: others are tried by the tests of rows."""
Rows = dict[tuple[Any, ...], dict[str, Any]]


@pytest.fixture(params=["duckdb", pytest.param("mariadb", marks=pytest.mark.database)])
def empty(place: Place, request: pytest.FixtureRequest) -> Place:
    if request.param == "mariadb":
        server: SqlServer = request.getfixturevalue("mariadb")
        place.target = server.make_database(f"d{abs(hash(request.node.name)) % 10**12}")
    return place


@pytest.fixture
def shop(empty: Place) -> Place:
    """A place with rows of 40 customers, built once."""
    empty.policy = Policy(max_unknown_ratio=1)
    empty.settings = {"drops": {"withdrawals": "apply"}}
    empty.put_dimensions()
    empty.put("sales/first.csv", sales(*(line(f"F{n}", who, day=day(n)) for n, who in enumerate([*PEOPLE, *PEOPLE]))))
    assert empty.build().error is None
    return empty


def day(number: int) -> str:
    return f"2024-0{number % 3 + 1}-0{number % 9 + 1}"


def one_day(place: Place, name: str, *people: int, price: str = "7.00", at: str = "2024-02-05") -> None:
    place.put(f"sales/{name}.csv", sales(*(line(f"{name}{who}", who, day=at, price=price) for who in people)))


def compared(place: Place, name: str = "", limit: int = EVERY) -> Differences:
    with closing(place.warehouse(read_only=True)) as warehouse:
        return differences(warehouse, RETAIL, name, limit)


def part_of(place: Place, name: str, limit: int = EVERY) -> Comparison:
    return compared(place, name, limit).marts[0].comparison


def go_back(place: Place, run_id: str = "rollback-1", why: str = "wrong prices") -> None:
    with closing(place.warehouse()) as warehouse:
        warehouse.rollback(Rollback(run_id, "2024-05-01T00:00:00", "Zoë", why))


def rows_of(place: Place, name: str) -> Rows:
    mart = RETAIL.marts[name]
    names = [column.name for column in mart.columns]
    rows = (dict(zip(names, row, strict=True)) for row in place.mart(name))
    return {tuple(row[key] for key in mart.key): row for row in rows}


def applied(rows: Rows, part: MartDifference) -> Rows:
    """Apply differences to the rows before."""
    result = {key: dict(row) for key, row in rows.items()}
    for row in part.comparison.rows:
        key = tuple(row.key.values())
        if row.change == "added":
            assert key not in result
            result[key] = {**row.key, **row.now}
        elif row.change == "removed":
            assert result.pop(key) == {**row.key, **row.was}
        else:
            assert row.was.keys() == row.now.keys() != set()
            assert all(row.was[name] != row.now[name] for name in row.now)
            assert {name: result[key][name] for name in row.was} == row.was
            result[key] |= row.now
    return result


def require_right(before: dict[str, Rows], place: Place) -> Differences:
    """Check the differences of a place against the rows before and after."""
    result = compared(place)
    for part in result.marts:
        mart, own = part.mart, part.comparison
        was, now = before[mart.name], rows_of(place, mart.name)
        assert applied(was, part) == now
        both = was.keys() & now.keys()
        counts = (len(now.keys() - both), len(was.keys() - both), sum(was[key] != now[key] for key in both))
        assert (own.added, own.removed, own.changed) == counts
        assert own.unchanged == len(both) - own.changed
        assert own.left_out == 0
        for item in own.sums:
            sums = [sum((row[item.column] or Decimal(0) for row in rows.values()), Decimal(0)) for rows in (was, now)]
            assert [item.was, item.now] == sums
        effects = [effect(row, own.ordered_by) for row in own.rows]
        keys = [tuple(row.key.values()) for row in own.rows]
        assert [*zip(effects, keys, strict=True)] == sorted(zip(effects, keys, strict=True))
    return result


def effect(row: RowDifference, column: str) -> Decimal:
    """Return what the rows are ordered by: the largest change first."""
    return -abs(Decimal(row.now.get(column) or 0) - Decimal(row.was.get(column) or 0))


def all_rows(place: Place) -> dict[str, Rows]:
    return {name: rows_of(place, name) for name in RETAIL.marts}


def test_a_late_drop_adds_to_an_old_month(shop: Place) -> None:
    before = all_rows(shop)
    one_day(shop, "late", 3, price="30.00", at="2024-01-20")
    assert shop.build().error is None
    result = require_right(before, shop)
    assert [(drop.change, drop.key, drop.rows) for drop in result.drops] == [("new", "sales/late.csv", 1)]
    assert not result.went_back
    (customers,) = [part for part in result.marts if part.mart.name == "customers"]
    assert customers.total
    assert customers.total.difference == Decimal("30.00")
    assert customers.comparison.ordered_by == "total_sales"
    first = customers.comparison.rows[0]
    assert (first.key["sales_date_month"], first.key["customer_id"]) == ("2024-01", 3)


def test_a_replaced_drop_and_a_new_customer(shop: Place) -> None:
    one_day(shop, "a", 3, 4, 5)
    shop.build()
    before = all_rows(shop)
    one_day(shop, "a", 3, 900, price="8.50")
    shop.build()
    result = require_right(before, shop)
    assert result.drops == (DropChange("sales", "sales/a.csv", "replaced", 2, 3, ""),)
    part = next(part.comparison for part in result.marts if part.mart.name == "customers")
    assert {row.key["customer_id"] for row in part.rows if row.change == "added"} == {900}


@OF_THE_LEDGER
def test_a_withdrawn_drop_and_one_that_was_held(shop: Place) -> None:
    one_day(shop, "a", 3, 4)
    shop.policy = Policy(max_unknown_ratio=1, max_bad_rows=0)
    shop.put("sales/bad.csv", sales(line("B1", 5, day="2024-02-05"), line("B2", 6, day="never")))
    shop.build()
    before, (held,) = all_rows(shop), [record for record in drop_records(shop) if record.state == "held"]
    (shop.source / "sales/a.csv").unlink()
    with closing(shop.warehouse()) as warehouse:
        names = ("sales", held.object_key, held.delivery_id)
        warehouse.decide(Decision("1", "2024-04-02", "Zoë", "accept", *names, "it is right", "{}"))
    shop.build()
    result = require_right(before, shop)
    assert result.drops == (
        DropChange("sales", "sales/a.csv", "withdrawn", 0, 2, "it vanished from the source"),
        DropChange("sales", "sales/bad.csv", "released", 1, 0, ""),
    )


def drop_records(place: Place) -> list[Any]:
    with closing(place.warehouse()) as warehouse:
        return warehouse.drops()


@OF_THE_LEDGER
def test_lines_that_another_drop_replaces_are_counted_again(shop: Place) -> None:
    one_day(shop, "a", 3, 4)
    shop.build()
    before = all_rows(shop)
    again = line("a3", 3, day="2024-02-05", price="9.00")
    shop.put("sales/b.csv", sales(again))
    shop.build()
    result = require_right(before, shop)
    changes = [(drop.key, drop.change, drop.rows, drop.rows_before) for drop in result.drops]
    assert changes == [("sales/a.csv", "recounted", 1, 2), ("sales/b.csv", "new", 1, 0)]


@OF_THE_LEDGER
def test_a_drop_that_was_put_again_or_moved_is_behind_nothing(shop: Place) -> None:
    one_day(shop, "a", 3)
    one_day(shop, "b", 4)
    shop.build()
    before = all_rows(shop)
    one_day(shop, "a", 3)
    (shop.source / "sales/b.csv").rename(shop.source / "sales/c.csv")
    one_day(shop, "d", 5)
    shop.build()
    result = require_right(before, shop)
    assert [(drop.key, drop.change) for drop in result.drops] == [("sales/d.csv", "new")]


def test_another_table_of_people_changes_their_names(shop: Place) -> None:
    before = all_rows(shop)
    shop.put("customers/customers.csv", CUSTOMERS.replace("Asha,Rao", "asha,Rao").replace('"1, Lake Road"', ""))
    shop.build()
    result = require_right(before, shop)
    assert [(drop.kind, drop.change, drop.rows, drop.rows_before) for drop in result.drops] == [
        ("customers", "replaced", 6, 6)
    ]
    part = next(part.comparison for part in result.marts if part.mart.name == "customers")
    assert part.changed == len(part.rows) > 0
    for row in part.rows:
        assert (row.was["full_name"], row.now["full_name"]) == ("Asha Rao", "asha Rao")
        assert (row.was["address"], row.now["address"]) == ("1, Lake Road", None)


@pytest.mark.mysql
def test_after_a_rollback_the_live_publication_is_compared_with_the_one_that_was_live(shop: Place) -> None:
    one_day(shop, "a", 3)
    shop.build()
    forward, before = compared(shop), all_rows(shop)
    go_back(shop)
    back = require_right(before, shop)
    assert (back.went_back, back.now.action, back.now.who, back.now.why) == (True, "rollback", "Zoë", "wrong prices")
    assert (back.now.run_id, back.was.run_id) == ("run-1", "run-2")
    assert back.drops == forward.drops
    for ahead, behind in zip(forward.marts, back.marts, strict=True):
        assert ahead.comparison.changed == behind.comparison.changed
        assert (ahead.comparison.added, ahead.comparison.removed) == (
            behind.comparison.removed,
            behind.comparison.added,
        )
    before = all_rows(shop)
    one_day(shop, "b", 4)
    shop.build()
    result = require_right(before, shop)
    assert [drop.key for drop in result.drops] == ["sales/a.csv", "sales/b.csv"]
    assert (result.was.run_id, result.now.run_id, result.went_back) == ("run-1", "run-3", False)


@OF_THE_LEDGER
def test_a_publication_without_differences_says_so(shop: Place) -> None:
    before = all_rows(shop)
    shop.put("customers/customers.csv", CUSTOMERS.replace(",10001,", ",10002,"))
    assert shop.build().outcome == "published"
    result = require_right(before, shop)
    assert {part.comparison.differing for part in result.marts} == {0}
    assert [drop.key for drop in result.drops] == ["customers/customers.csv"]


@OF_THE_LEDGER
def test_a_run_that_published_nothing_is_no_publication(shop: Place) -> None:
    one_day(shop, "a", 3)
    shop.build()
    first = compared(shop)
    shop.put("sales/copy.csv", (shop.source / "sales/a.csv").read_bytes())
    assert shop.build().outcome == "unchanged"
    assert compared(shop) == first


def test_a_mart_that_is_built_for_the_first_time_has_new_rows_only(empty: Place) -> None:
    empty.put_golden()
    empty.settings["mart"] = "customers"
    empty.build()
    before = {"customers": rows_of(empty, "customers"), "sales_team": {}}
    empty.settings["mart"] = "sales_team"
    empty.build()
    result = require_right(before, empty)
    assert [(part.mart.name, part.comparison.differing > 0) for part in result.marts] == [
        ("customers", False),
        ("sales_team", True),
    ]
    go_back(empty)
    before["sales_team"] = {tuple(row.key.values()): {**row.key, **row.now} for row in result.marts[1].comparison.rows}
    gone_again = compared(empty, "sales_team").marts[0]
    assert applied(before["sales_team"], gone_again) == {}


@OF_THE_LEDGER
def test_the_first_publication_has_nothing_to_be_compared_with(shop: Place) -> None:
    with pytest.raises(UsageError, match="there is only one publication") as caught:
        compared(shop)
    assert "the last two publications are kept" in caught.value.hint


@OF_THE_LEDGER
def test_an_empty_target_has_no_publication(empty: Place) -> None:
    with closing(empty.warehouse()) as warehouse:
        warehouse.prepare()
        with pytest.raises(UsageError, match="nothing is published yet"):
            differences(warehouse, RETAIL, "", 10)


@OF_THE_LEDGER
def test_a_mart_is_named_as_the_pack_or_as_its_table(shop: Place) -> None:
    one_day(shop, "a", 3)
    shop.build()
    assert compared(shop, "customers") == compared(shop, "customers_data_mart")
    with pytest.raises(UsageError, match="unknown mart 'customer'; did you mean 'customers'"):
        compared(shop, "customer")


@OF_THE_LEDGER
def test_only_the_first_rows_are_listed_and_all_are_counted(shop: Place) -> None:
    one_day(shop, "b", *PEOPLE, at="2024-03-30")
    shop.build()
    whole, part = part_of(shop, "customers"), part_of(shop, "customers", 3)
    assert part.rows == whole.rows[:3]
    assert (part.differing, part.left_out) == (whole.differing, whole.differing - 3)
    assert replace(part, rows=whole.rows) == whole


def test_rows_that_are_not_in_the_target_any_more_are_reported(shop: Place) -> None:
    one_day(shop, "b", *PEOPLE)
    shop.build()
    with closing(shop.warehouse()) as warehouse:
        first = warehouse.publications(2)[1][0].generation
        drop = f"DELETE FROM customers_data_mart_rows WHERE generation = {first}"
        warehouse.execute(drop if shop.target else f"DROP TABLE customers_data_mart_g{first}")
    result = compared(shop)
    reasons = {part.mart.name: part.comparison.why_not for part in result.marts}
    assert reasons["sales_team"] == ""
    assert reasons["customers"] == "its rows of one of the publications are not in the target any more"
    with pytest.raises(UsageError, match="customers_data_mart: cannot be compared: its rows"):
        compared(shop, "customers")


def test_an_erased_person_is_in_no_difference(shop: Place) -> None:
    one_day(shop, "a", 3, 4)
    shop.build()
    with closing(shop.warehouse()) as warehouse:
        warehouse.atomically(lambda: warehouse.remove_person(3))
    part = part_of(shop, "customers")
    assert {row.key["customer_id"] for row in part.rows} == {4}
    assert part.differing + part.unchanged == len(rows_of(shop, "customers"))


@pytest.mark.mysql
def test_days_of_any_kind_are_what_differs(shop: Place) -> None:
    """Days, corrections, withdrawals, rollbacks and rebuilds, in any order: patches, and loads of all rows."""
    chance, names, patches = random.Random(3), list[str](), set[bool]()
    for number in range(10):
        before = all_rows(shop)
        match chance.randrange(6):
            case 0 if names:
                (shop.source / f"sales/{names.pop()}.csv").unlink()
            case 1 if names:
                one_day(shop, chance.choice(names), *chance.sample(PEOPLE, 3), price="5.25")
            case 2 if number:
                go_back(shop, f"rollback-{number}")
                require_right(before, shop)
                continue
            case 3:
                one_day(shop, f"d{number}", *chance.sample(PEOPLE, 35), at=day(number))
                names.append(f"d{number}")
            case _:
                one_day(shop, f"d{number}", *chance.sample(PEOPLE, 2), 900 + number)
                names.append(f"d{number}")
        as_of = date(2024, 4, 1 + number)
        report = shop.build(rebuild=chance.random() < 0.2, as_of=as_of)
        assert report.error is None, report.error
        if report.outcome == "published":
            result = require_right(before, shop)
            patches |= {bool(g.earlier) for g in result.now.generations.values()}
    assert patches == {True, False}


VALUES = {"full_name": "Asha Rao", "customer_segment": "seldom", "inactive_status": False, "purchase_frequency": 1}


@pytest.fixture
def opened(empty: Place) -> Iterator[Any]:
    with closing(empty.warehouse()) as warehouse:
        warehouse.prepare()
        yield warehouse


def loaded(warehouse: Any, *rows: dict[str, Any]) -> Generation:
    """Load rows as a generation; what is not given has a default."""
    schema = mart_schema(CUSTOMERS_MART)
    defaults = {
        column.name: VALUES.get(column.name, None if column.nullable else Decimal("0.00"))
        for column in CUSTOMERS_MART.columns
    }
    table = pa.Table.from_pylist([{**defaults, "sales_date_month": "2024-01", **row} for row in rows], schema)
    number = warehouse.stage(CUSTOMERS_MART)
    warehouse.load(CUSTOMERS_MART, number, table)
    return Generation("customers", number, f"run-{number}", "2024-01-31", "", len(rows), "2024-02-01")


@pytest.mark.mysql
@pytest.mark.parametrize(
    ("column", "was", "now"),
    [
        ("full_name", "asha rao", "Asha Rao"),
        ("full_name", "Asha Rao", "Asha Rao "),
        ("full_name", "Rene", "René"),
        ("full_name", "", " "),
        ("full_name", "\x1b[31mRed\x00'; DROP TABLE x; --", "\x1b[32mRed\x00'; DROP TABLE x; --"),
        ("address", None, ""),
        ("address", "x", None),
        ("monetary_value", None, Decimal("0.00")),
        ("total_sales", Decimal("9999999999999999.98"), Decimal("9999999999999999.99")),
        ("purchase_frequency", 2**62, 2**62 + 1),
        ("inactive_status", False, True),
        ("first_purchase_month", None, "2024-01"),
    ],
)
def test_values_are_compared_as_they_are_stored(opened: Any, column: str, was: Any, now: Any) -> None:
    sides = [loaded(opened, {"customer_id": 1, column: value}, {"customer_id": 2}) for value in (was, now)]
    result = opened.compare(CUSTOMERS_MART, *sides, 10)
    key = {"customer_id": 1, "sales_date_month": "2024-01"}
    assert result.rows == (RowDifference("changed", key, {column: was}, {column: now}),)
    assert (result.changed, result.unchanged, result.differing) == (1, 1, 1)


def test_equal_rows_do_not_differ(opened: Any) -> None:
    row = {"customer_id": 1, "address": None, "total_sales": Decimal("0.10")}
    result = opened.compare(CUSTOMERS_MART, loaded(opened, row), loaded(opened, row), 10)
    assert (result.unchanged, result.differing, result.rows) == (1, 0, ())


@pytest.mark.mysql
@pytest.mark.parametrize("rows", [0, 2])
def test_a_mart_may_have_no_rows(opened: Any, rows: int) -> None:
    own = [{"customer_id": n} for n in range(rows)]
    sides = [loaded(opened), loaded(opened, *own)]
    result, back = opened.compare(CUSTOMERS_MART, *sides, 10), opened.compare(CUSTOMERS_MART, *reversed(sides), 10)
    assert (result.added, result.removed, result.unchanged) == (rows, 0, 0)
    assert (back.added, back.removed, back.unchanged) == (0, rows, 0)
    assert [row.key["customer_id"] for row in result.rows] == [row.key["customer_id"] for row in back.rows]
    assert [item.difference for item in result.sums] == [Decimal(0)] * len(result.sums)
