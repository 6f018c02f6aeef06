"""What a drop holds, as its block declares: lines to add, the month so far, everything, changes; and in which order."""

from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from support.shop import Shop

from marts.rows.date_formats import DateFormat

pytestmark = [pytest.mark.usefixtures("small_builds")]
HEADER = "customer_id,store_id,product_name,sales_date,sales_person_id,price,quantity,total_cost\n"
PEOPLE = "customer_id,first_name,last_name,address\n"
ALL = PEOPLE + "".join(f"{n},Customer,No{n},\n" for n in range(1, 10))


def days(*names: str) -> str:
    """Return sales of 10.00 on each day of January, or as MM-DD."""
    return HEADER + "".join(f"1,1,tea,2024-{day if '-' in day else f'01-{day}'},11,10.00,1,10.00\n" for day in names)


def shop_with(folder: Path, block: str) -> Shop:
    shop = Shop(folder, config_text=f"[[source]]\n{block}\n")
    shop.put_dims()
    return shop


def total(shop: Shop) -> Decimal:
    sums = shop.sums()
    assert sums is not None
    assert sums[0] == sums[1]
    return sums[0]


def names(shop: Shop) -> dict[int, str]:
    with closing(shop.warehouse(read_only=True)) as warehouse:
        return dict(warehouse.execute("SELECT customer_id, full_name FROM customers_data_mart"))


def states(shop: Shop, report: dict[str, object]) -> dict[str, str]:
    drops = report["drops"]
    assert isinstance(drops, list)
    return {drop["key"].rpartition("/")[2]: drop["state"] for drop in drops if drop["kind"] == "sales"}


def test_of_a_month_so_far_the_newest_counts_and_older_ones_may_vanish(tmp_path: Path) -> None:
    shop = shop_with(tmp_path, "match = 'sales/**'\ndelivers = 'month-to-date'")
    shop.put("sales/till-1-0110.csv", days("01", "02"))
    shop.put("sales/till-2-0110.csv", days("05"))
    shop.put("sales/web-0110.csv", days("01"))
    built = shop.built()
    # Keys that differ in digits only are one series: the newer of the two tills would hold the other.
    assert (built.code, total(shop)) == (0, Decimal("20.00"))
    assert states(shop, built.report) == {"till-1-0110.csv": "older", "till-2-0110.csv": "live", "web-0110.csv": "live"}
    fewer = "sales/till-2-0110.csv has 1 rows and supersedes sales/till-1-0110.csv with 2; if they are of different"
    assert any(text.startswith(fewer) for text in built.report["warnings"]), built.text
    assert "superseded by a newer drop" in shop.command("history", "till-1-0110.csv").stdout
    shop.put("sales/till-2-0120.csv", days("01", "02", "03"))
    built = shop.built()
    assert (built.code, total(shop)) == (0, Decimal("40.00")), built.text
    assert not any("supersedes" in text for text in built.report["warnings"])
    assert built.drop("sales/till-2-0110.csv")["reason"] == "superseded by a newer drop that holds it all"
    shop.put("sales/till-2-0210.csv", days("31", "02-01", "02-02"))  # most lines are of February
    assert (shop.built().code, total(shop)) == (0, Decimal("70.00"))
    shop.remove("sales/till-1-0110.csv", "sales/till-2-0110.csv")
    built = shop.built()
    assert (built.code, total(shop), built.report["outcome"]) == (0, Decimal("70.00"), "unchanged")
    assert shop.built("--rebuild").report["totals"]["drops"] == 3
    assert total(shop) == Decimal("70.00")
    for _ in range(2):
        shop.command("vacuum", "--yes", code=None)
        assert shop.built().report["totals"]["scanned"] == 0


def test_a_newer_version_of_a_month_that_is_rejected_or_held_replaces_nothing(tmp_path: Path) -> None:
    shop = shop_with(tmp_path, "match = 'sales/**'\ndelivers = 'month-to-date'")
    shop.put("sales/0110.csv", days("01", "02"))
    shop.put("sales/0120.csv", days(*(f"{n:02}" for n in range(1, 10)), *["x"] * 9))
    built = shop.built()
    assert (built.code, total(shop)) == (65, Decimal("20.00"))
    assert states(shop, built.report) == {"0110.csv": "live", "0120.csv": "held"}
    shop.put("sales/0121.csv", days("01", "02", "03"))
    assert (shop.built().code, total(shop)) == (0, Decimal("30.00"))


def test_of_everything_only_the_newest_is_read(tmp_path: Path) -> None:
    shop = shop_with(tmp_path, "match = 'sales/erp/**'\ndelivers = 'everything'")
    shop.put("sales/erp/1.csv", days("01"))
    shop.put("sales/erp/2.csv", days("01", "02"))
    shop.put("sales/day.csv", days("03"))
    built = shop.built()
    assert (built.code, total(shop), built.report["totals"]["scanned"]) == (0, Decimal("30.00"), 2)
    shop.put("sales/erp/3.csv", "")
    built = shop.built()
    assert (built.code, total(shop)) == (65, Decimal("30.00")), "an empty one is rejected, the one before counts on"
    shop.put("sales/erp/4.csv", days("01", "02", "04", "05"))
    assert (shop.built().code, total(shop)) == (0, Decimal("50.00"))
    shop.remove("sales/erp/1.csv", "sales/erp/2.csv", "sales/erp/3.csv")
    assert (shop.built().code, total(shop)) == (0, Decimal("50.00"))


def test_changes_are_merged_by_key_in_order_and_delete(tmp_path: Path) -> None:
    shop = shop_with(tmp_path, "match = 'customers/**'\ndelivers = 'changes'")
    shop.remove("customers/c.csv")
    shop.put("customers/1.csv", ALL)
    shop.put("sales/a.csv", days("01") + days("02").replace("\n1,", "\n4,").removeprefix(HEADER))
    shop.built()
    assert names(shop) == {1: "Customer No1", 4: "Customer No4"}
    shop.put("customers/2.csv", PEOPLE + "4,Customer,Renamed,\n4,Customer,Twice,\n")
    built = shop.built()
    assert (built.code, names(shop)[4]) == (0, "Customer Twice"), built.text
    shop.put("customers/3.csv", PEOPLE.replace("\n", ",op\n") + "4,Customer,No4,,D\n")
    shop.policy_text = "max_unknown_ratio = 1.0\n"
    built = shop.built()
    assert (built.code, names(shop)[4]) == (0, "UNKNOWN"), built.text
    shop.put("customers/4.csv", PEOPLE + "4,Customer,Back,\n")
    shop.remove("customers/2.csv", "customers/1.csv")  # their rows count on
    built = shop.built()
    assert (built.code, names(shop)) == (0, {1: "Customer No1", 4: "Customer Back"}), built.text
    again = (shop.source / "customers/3.csv").read_text()
    shop.put("customers/5.csv", again)  # the same content: at its own place in the order
    assert (shop.built().code, names(shop)[4]) == (0, "Customer Back")
    shop.built("--rebuild")
    assert names(shop) == {1: "Customer No1", 4: "Customer Back"}


def test_a_row_that_deletes_needs_its_key_only(tmp_path: Path) -> None:
    shop = shop_with(tmp_path, "match = 'customers/**'\ndelivers = 'changes'")
    shop.policy_text = "max_unknown_ratio = 1.0\n"
    shop.put("customers/d.csv", PEOPLE.replace("\n", ",op\n") + "4,,,,delete\n,,,,d\n5,,,,u\n" + "1,A,B,,c\n" * 3)
    shop.put("sales/a.csv", days("01") + days("02").replace("\n1,", "\n4,").removeprefix(HEADER))
    built = shop.built()
    assert (built.code, names(shop)) == (0, {1: "A B", 4: "UNKNOWN"}), built.text
    drop = built.drop("customers/d.csv")
    assert (drop["rows_read"], drop["clean"], drop["quarantined"]) == (6, 4, 2)


def test_an_unknown_operation_rejects_the_drop(tmp_path: Path) -> None:
    shop = shop_with(tmp_path, "match = 'customers/**'\ndelivers = 'changes'")
    shop.put("customers/x.csv", PEOPLE.replace("\n", ",op\n") + "4,A,B,,truncate\n")
    shop.put("sales/a.csv", days("01"))
    built = shop.built()
    assert built.code == 65
    assert "op has 'truncate': known are c, r, u" in built.drop("customers/x.csv")["reason"]
    assert names(shop) == {1: "Customer No1"}


def test_everything_of_a_dimension_and_the_changes_after_it(tmp_path: Path) -> None:
    blocks = "match = 'customers/delta/**'\ndelivers = 'changes'"
    shop = shop_with(tmp_path, blocks)
    shop.put("sales/a.csv", days("01") + days("02").replace("\n1,", "\n4,").removeprefix(HEADER))
    shop.put("customers/delta/1.csv", PEOPLE + "4,Customer,Delta,\n")
    shop.built()
    assert names(shop)[4] == "Customer Delta"
    shop.put("customers/full.csv", ALL.replace("No4", "Full"))
    assert (shop.built().code, names(shop)[4]) == (0, "Customer Full"), "a newer whole table holds it all"
    shop.put("customers/delta/2.csv", PEOPLE + "1,Customer,Delta,\n")
    assert (shop.built().code, names(shop)) == (0, {1: "Customer Delta", 4: "Customer Full"})


def test_a_key_that_is_twice_stops_the_run_with_its_lines_unless_the_last_counts(tmp_path: Path) -> None:
    shop = shop_with(tmp_path, "match = 'x'")
    shop.put("sales/a.csv", days("01") + days("02").replace("\n1,", "\n4,").removeprefix(HEADER))
    shop.put("customers/c.csv", ALL + "4,Customer,No4,\n")
    assert (shop.built().code, names(shop)[4]) == (0, "Customer No4"), "equal rows are one"
    shop.put("customers/c.csv", ALL + "\n4,Customer,Other,\n" + "2,Customer,Two,\n" * 4)
    built = shop.built()
    assert built.code == 65
    problem = built.report["error"]
    assert problem["what"] == (
        "duplicate customer_id: 2 (lines 3, 13, 14 and 2 more of customers/c.csv), 4 (lines 5, 12 of customers/c.csv)"
    )
    assert 'match = "customers/**" and duplicates = "last"' in problem["hint"]
    shop.config_text = "[[source]]\nmatch = 'customers/**'\nduplicates = 'last'\n"
    assert (shop.built().code, names(shop)[4]) == (0, "Customer Other")


@pytest.mark.parametrize(
    ("order", "first"), [("time", "b-02012024.csv"), ("name", "a-03012024.csv"), ("-%d%m%Y", "c-01012024.csv")]
)
def test_the_order_is_that_of_times_names_or_dates_in_names(tmp_path: Path, order: str, first: str) -> None:
    """Three versions of one basket: the last in the order counts, the first gives its lines up."""
    shop = shop_with(tmp_path, f"match = 'sales/**'\norder = '{order}'")
    for name, price in (("b-02012024.csv", "1.00"), ("c-01012024.csv", "2.00"), ("a-03012024.csv", "4.00")):
        data = f"transaction_id,{HEADER}T1,1,1,tea,2024-01-01,11,{price},1,{price}\n"
        shop.put(f"sales/{name}", data)
    built = shop.built()
    last = {"time": "4.00", "name": "2.00", "-%d%m%Y": "4.00"}[order]
    assert (built.code, total(shop)) == (0, Decimal(last)), built.text
    assert built.drop(f"sales/{first}")["replaced"] == 1
    shop.move("sales/c-01012024.csv", "sales/z-09012024.csv")  # the place is that of the first name
    assert (shop.built().code, total(shop)) == (0, Decimal(last))


@pytest.mark.parametrize(
    ("block", "key", "words"),
    [
        ("match = 'sales/**'\norder = '%Y-%m-%d'", "sales/a.csv", "its key has no date as order '%Y-%m-%d' says"),
        ("match = 'sales/**'\ndelivers = 'changes'", "sales/a.csv", "are for dimensions"),
        ("match = 'sales/**'\nduplicates = 'last'", "sales/a.csv", "are for dimensions"),
        ("match = 'customers/**'\ndelivers = 'month-to-date'", "customers/c.csv", "is not for dimensions"),
    ],
)
def test_a_setting_that_does_not_fit_the_drop_is_named(tmp_path: Path, block: str, key: str, words: str) -> None:
    shop = shop_with(tmp_path, block)
    shop.put("sales/a.csv", days("01"))
    built = shop.built()
    assert built.code == 65
    assert words in built.drop(key)["reason"]


MONTHS, ALL_OF_IT = "delivers = 'month-to-date'", "delivers = 'everything'"


def both_ways(shop: Shop) -> tuple[int, Decimal]:
    """Build, and build from nothing: the code of the first, and the total of both."""
    built = shop.built()
    first = total(shop)
    shop.built("--rebuild")
    assert total(shop) == first, built.text
    return built.code, first


@pytest.mark.parametrize("mode", [MONTHS, ALL_OF_IT])
def test_a_newest_whose_new_version_cannot_count_counts_on_alone(tmp_path: Path, mode: str) -> None:
    """One that is held, one that is rejected, an empty one."""
    shop = shop_with(tmp_path, f"match = 'sales/**'\n{mode}")
    for number in (1, 2, 3):
        shop.put(f"sales/01{number}0.csv", days(*(f"{day:02}" for day in range(1, number + 1))))
        shop.built()
    assert total(shop) == Decimal("30.00")
    for version in (days(*["x"] * 9), "nothing\n", HEADER):
        shop.put("sales/0130.csv", version)
        assert both_ways(shop) == (65, Decimal("30.00"))


@pytest.mark.parametrize("mode", [MONTHS, ALL_OF_IT])
def test_of_a_series_whose_newest_is_held_for_its_lines_one_older_counts(tmp_path: Path, mode: str) -> None:
    """The newest holds lines without ids that another live drop has, too."""
    lines = days(*(f"{day:02}" for day in range(1, 31))).replace("tea", "rice")
    shop = shop_with(tmp_path, f"match = 'sales/till/**'\n{mode}")
    shop.put("sales/x.csv", lines)
    for number in (3, 10):
        shop.put(f"sales/till/{number:04}.csv", days(*(f"{day:02}" for day in range(1, number + 1))))
        shop.built()
    assert total(shop) == Decimal("400.00")
    shop.put("sales/till/0031.csv", lines + days("31").removeprefix(HEADER))
    assert both_ways(shop) == (65, Decimal("400.00"))


@pytest.mark.parametrize("mode", [MONTHS, ALL_OF_IT])
@pytest.mark.parametrize(("withdrawals", "code"), [("ask", 65), ("keep", 0)])
def test_the_newest_of_a_series_that_vanishes_is_a_withdrawal(
    tmp_path: Path, mode: str, withdrawals: str, code: int
) -> None:
    shop = shop_with(tmp_path, f"match = 'sales/**'\n{mode}")
    shop.config_text = f"withdrawals = '{withdrawals}'\n{shop.config_text}"
    for number in (2, 20):
        shop.put(f"sales/{number:04}.csv", days(*(f"{day:02}" for day in range(1, number + 1))))
        shop.built()
    shop.remove("sales/0020.csv")
    built = shop.built()
    assert (built.code, total(shop)) == (code, Decimal("200.00")), built.text
    shop.remove("sales/0002.csv")  # the older one is nobody's decision
    shop.put("sales/0001.csv", days("01"))
    assert (shop.built().code, total(shop)) == (0, Decimal("10.00")), "the newest that is delivered counts"


def test_a_newest_that_moves_stays_the_newest_of_its_series(tmp_path: Path) -> None:
    shop = shop_with(tmp_path, f"match = 'sales/**'\n{MONTHS}")
    for number in (2, 4):
        shop.put(f"sales/till {number:04}.csv", days(*(f"{day:02}" for day in range(1, number + 1))))
    shop.built()
    shop.move("sales/till 0004.csv", "sales/archive/till 0004 done.csv")
    assert both_ways(shop) == (0, Decimal("40.00"))


def test_a_whole_table_that_vanishes_counts_on_beside_its_changes(tmp_path: Path) -> None:
    shop = shop_with(tmp_path, "match = 'customers/delta/**'\ndelivers = 'changes'")
    shop.put("sales/a.csv", days("01") + days("02").replace("\n1,", "\n4,").removeprefix(HEADER))
    shop.put("customers/delta/1.csv", PEOPLE + "4,Customer,Delta,\n")
    shop.built()
    shop.remove("customers/c.csv")
    assert (shop.built().code, names(shop)) == (0, {1: "Customer No1", 4: "Customer Delta"})
    shop.put("customers/c.csv", ALL + "4,Customer,Twice,\n")
    shop.put("customers/delta/2.csv", PEOPLE + "1,Customer,Delta,\n")
    built = shop.built()
    assert built.code == 65, "changes do not decide which row of the whole table is right"
    assert "duplicate customer_id: 4 (lines 5, 11 of customers/c.csv)" in built.report["error"]["what"]


def test_orders_that_cannot_be_compared_stop_the_run(tmp_path: Path) -> None:
    shop = shop_with(tmp_path, "match = 'sales/fix/**'\norder = 'name'")
    shop.put("sales/a.csv", days("01"))
    shop.put("sales/fix/a.csv", days("02"))
    built = shop.built()
    assert built.code == 2
    assert "drops are ordered in ways that cannot be compared: 'name', 'time'" in built.text


@pytest.mark.parametrize(
    ("text", "key", "day"),
    [
        ("%Y-%m-%d", "erp-2024-01-15.csv", "2024-01-15"),
        ("%Y%m%d", "store-10120101-20240131.csv", "1012-01-01"),
        ("-%Y%m%d.", "store-10120101-20240131.csv", "2024-01-31"),
        ("%Y%m%d", "x-120240131.csv", None),
        ("%Y%m%d_%H", "x-20240131_23.csv", "2024-01-31T23:00:00"),
        ("%d-%Y-%m", "x-01-2024-12.csv", "2024-12-01"),
        ("%d.%m.%Y", "x 1.2.2024.csv", "2024-02-01"),
    ],
)
def test_the_date_in_a_key_is_read_whole(text: str, key: str, day: str | None) -> None:
    assert DateFormat.of(text).find_in(key) == day
