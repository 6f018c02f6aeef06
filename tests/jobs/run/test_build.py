"""A build from a folder into the embedded target: results, increments, and that nothing is counted twice."""

import gzip
import random
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import oracle
from support.kit import AS_OF, GOLDEN, SALES, Inline, Once, Place, as_golden, golden, line, sales
from support.oracle_daily import two_marts
from support.oracle_drops import Source

from marts.policy import Policy

APPLY = {"drops": {"withdrawals": "apply"}}
UNKNOWN_FINE = Policy(max_unknown_ratio=1)
PEOPLE = {
    1: oracle.Person("Asha Rao", "1, Lake Road", "+00 1"),
    2: oracle.Person("Ben Iyer"),
    3: oracle.Person("Chitra Das"),
    4: oracle.Person("Dev Nair"),
    5: oracle.Person("Eva Roy"),
    6: oracle.Person("Farid Khan"),
}
TEAM = {
    1: oracle.Person("Rahul Verma"),
    2: oracle.Person("Priya Singh"),
    3: oracle.Person("Amit Sharma"),
    4: oracle.Person("Mina Paul"),
}
GOLDEN_DROPS = [(GOLDEN / f"golden_input{n}.csv").read_text() for n in ("", "_2")]


def expected(*drops: str, as_of: date = AS_OF) -> dict[str, Any]:
    """Calculate both marts row by row; drops in the order of their delivery."""
    return marts_of(oracle.live_lines([oracle.read_lines(text) for text in drops]), as_of)


def marts_of(lines: list[oracle.Line], as_of: date = AS_OF) -> dict[str, Any]:
    return two_marts(lines, PEOPLE, TEAM, as_of)


@pytest.fixture
def built(place: Place, once: Once) -> Place:
    """A place with the golden drops, built once."""
    once(Place.publish_golden, place)
    return place


@pytest.mark.parametrize("name", ["customers", "sales_team"])
def test_the_golden_marts_come_out_to_the_last_cent(built: Place, name: str) -> None:
    from support.retail import MARTS

    wanted = golden(name)
    assert as_golden(built.mart(name), [c.name for c in MARTS[name].columns], list(wanted[0])) == wanted


def test_every_row_carries_its_run_and_as_of(built: Place) -> None:
    warehouse = built.warehouse()
    for table in ("customers_data_mart", "sales_team_data_mart"):
        assert warehouse.execute(f"SELECT DISTINCT run_id, as_of_date FROM {table}") == [("run-1", AS_OF)]
    warehouse.close()


def test_a_second_build_with_nothing_new_reads_and_loads_nothing(built: Place) -> None:
    built.runner = Inline()
    report = built.build()
    assert report.outcome == "unchanged"
    assert report.totals.scanned == 0
    assert built.runner.tasks.get("ScanDrops", 0) + built.runner.tasks.get("RollUp", 0) == 0


def test_one_new_drop_is_scanned_alone_and_only_its_month_is_rolled_up(built: Place) -> None:
    built.runner = Inline()
    built.put("sales/new.csv", sales(line("N1", day="2024-02-03")))
    report = built.build()
    assert report.months_rolled_up == ("2024-02",)
    assert (report.totals.scanned, built.runner.tasks["ScanDrops"], built.runner.tasks["RollUp"]) == (1, 1, 1)


def test_a_new_as_of_rolls_up_only_the_month_it_cuts(built: Place) -> None:
    assert built.build(as_of=date(2024, 4, 30)).months_rolled_up == ()
    report = built.build(as_of=date(2024, 3, 15))
    assert report.months_rolled_up == ("2024-03",)
    assert built.marts() == expected(*GOLDEN_DROPS, as_of=date(2024, 3, 15))


def test_the_same_content_under_a_new_name_is_not_counted_again(place: Place) -> None:
    place.put_golden()
    before = place.build()
    place.put("sales/again.csv", (GOLDEN / "golden_input.csv").read_bytes())
    report = place.build()
    assert report.outcome == "unchanged"
    assert report.totals.clean == before.totals.clean
    assert place.drops()["sales/again.csv"] == ("duplicate", "same content as sales/golden.csv")


def test_a_duplicate_takes_over_when_the_first_is_withdrawn(place: Place) -> None:
    place.put_golden()
    place.put("sales/again.csv", (GOLDEN / "golden_input.csv").read_bytes())
    place.build()
    marts = place.marts()
    (place.source / "sales/golden.csv").unlink()
    assert place.build().exit_code == 0
    assert place.marts() == marts
    assert place.drops()["sales/golden.csv"][0] == "withdrawn"


def test_a_new_version_of_a_drop_replaces_the_old_one(place: Place) -> None:
    place.put_dimensions()
    place.put("sales/a.csv", sales(line("T1"), line("T2", day="2024-02-01")))
    place.put("sales/b.csv", sales(line("T3", customer=2)))
    place.build()
    place.put("sales/a.csv", sales(line("T1", quantity=5)))
    report = place.build()
    assert [drop.change for drop in report.drops] == ["replaced"]
    assert place.marts() == expected(sales(line("T3", customer=2)), sales(line("T1", quantity=5)))


def test_a_withdrawn_drop_leaves_the_marts(place: Place) -> None:
    place.settings = APPLY
    place.put_dimensions()
    first = sales(line("T1"))
    place.put("sales/a.csv", first)
    place.put("sales/b.csv", sales(line("T2", customer=2)))
    place.build()
    (place.source / "sales/b.csv").unlink()
    report = place.build()
    assert [(drop.key, drop.state) for drop in report.drops] == [("sales/b.csv", "withdrawn")]
    assert place.marts() == expected(first)


def test_a_transaction_delivered_again_with_all_its_products_replaces_the_earlier_one(place: Place) -> None:
    place.put_dimensions()
    first = sales(line("T1"), line("T1", product="salt"), line("T2"))
    second = sales(line("T1", quantity=3), line("T1", product="salt"))
    place.put("sales/z-first.csv", first)
    place.put("sales/a-second.csv", second)
    report = place.build()
    assert (report.totals.clean, report.totals.duplicates) == (3, 2)
    (dropped,) = [drop for drop in report.drops if drop.key == "sales/z-first.csv"]
    assert (dropped.repeated, dropped.replaced, dropped.repeated_total, dropped.replaced_total) == (1, 1, 10, 10)
    assert place.marts() == expected(first, second)


def test_a_transaction_of_which_a_part_comes_later_is_one_basket_of_both(place: Place) -> None:
    place.put_dimensions()
    drops = [sales(line("T1"), line("T1", product="salt")), sales(line("T1", quantity=3))]
    for number, text in enumerate(drops):
        place.put(f"sales/{number}.csv", text)
    report = place.build()
    assert (report.totals.clean, report.totals.duplicates) == (3, 0)
    assert place.mart("customers")[0][9:13:3] == (1, Decimal("50.00"))
    assert place.marts() == expected(*drops)


def test_equal_rows_without_a_transaction_are_all_kept_and_warned_of(place: Place) -> None:
    place.put_dimensions()
    header = SALES.removeprefix("transaction_id,")
    row = line().removeprefix("T1,")
    place.put("sales/a.csv", sales(row, row, row, header=header))
    report = place.build()
    assert report.totals.clean == 3
    assert any("3 lines have no transaction_id" in warning for warning in report.warnings)
    assert place.mart("customers")[0][9] == 3


@pytest.mark.parametrize(("choice", "clean"), [("keep", 3), ("drop", 2)])
def test_equal_rows_of_a_transaction_are_kept_unless_the_policy_drops_them(
    place: Place, choice: str, clean: int
) -> None:
    place.put_dimensions()
    place.put("sales/a.csv", sales(line(), line(), line(product="salt")))
    report = place.build(policy=Policy.model_validate({"equal_lines": choice}))
    assert (report.totals.rows_read, report.totals.clean, report.totals.duplicates) == (3, clean, 3 - clean)


def test_with_line_numbers_a_line_is_transaction_and_number(place: Place) -> None:
    place.put_dimensions()
    header = f"{SALES},line_no"
    place.put("sales/a.csv", sales(line() + ",1", line() + ",2", line(product="salt") + ",2", header=header))
    report = place.build()
    assert (report.totals.clean, report.totals.duplicates) == (2, 1)


def test_one_mart_alone_can_be_built(place: Place) -> None:
    place.put_golden()
    place.settings = {"mart": "sales_team"}
    report = place.build()
    assert [mart.name for mart in report.marts] == ["sales_team"]
    place.settings = {}
    assert {mart.name for mart in place.build().marts if not mart.changed} == {"sales_team"}


def test_a_deleted_state_is_healed_by_the_next_build(built: Place) -> None:
    import shutil

    marts = built.marts()
    shutil.rmtree(built.folder / "state")
    report = built.build()
    assert (report.outcome, report.totals.scanned) == ("unchanged", 2)
    assert built.marts() == marts


@pytest.mark.parametrize("folder", ["lines", "facts", "catalog", "marts", "dimensions"])
def test_a_part_of_the_state_that_is_lost_is_made_again(built: Place, folder: str) -> None:
    import shutil

    shutil.rmtree(built.folder / "state" / folder)
    built.put("sales/new.csv", sales(line("N1", day="2024-01-03")))
    report = built.build()
    assert report.exit_code == 0
    built.build(rebuild=True)
    assert built.build().outcome == "unchanged"


def test_a_rebuild_gives_the_same_marts(place: Place) -> None:
    place.put_golden()
    place.put("sales/more.csv", sales(line("N1", day="2024-01-03")))
    place.build()
    report = place.build(rebuild=True)
    assert (report.outcome, report.totals.scanned) == ("unchanged", 3)


def test_dimensions_are_the_newest_object(place: Place) -> None:
    place.put_golden()
    place.put(
        "customers/newer.csv",
        "customer_id,first_name,last_name,address,pincode,phone_number,customer_joining_date\n1,New,Name,,,,\n2,B,B,,,,\n3,C,C,,,,\n4,D,D,,,,\n5,E,E,,,,\n6,F,F,,,,\n",
    )
    assert place.build().exit_code == 0
    assert place.mart("customers")[0][1] == "New Name"


def test_only_the_newest_object_of_a_dimension_is_live_in_the_ledger(built: Place) -> None:
    older = (built.source / "customers/customers.csv").read_text()
    path = built.put("customers/newer.csv", older.replace("Asha", "Usha"))
    built.build()
    assert (built.drops()["customers/customers.csv"][0], built.drops()["customers/newer.csv"][0]) == (
        "older",
        "live",
    )
    path.unlink()
    built.build()
    assert (built.drops()["customers/customers.csv"][0], built.drops()["customers/newer.csv"][0]) == (
        "live",
        "withdrawn",
    )


def test_a_month_is_rolled_up_in_parts_of_which_most_are_empty(place: Place) -> None:
    place.put_dimensions()
    text = sales(*(line(f"T{n}") for n in range(60)))
    place.put("sales/a.csv", text)
    place.settings = {"limits": {"rollup_lines": 3, "finish_rows": 1}}
    place.build()
    assert place.runner.tasks["RollUp"] == 16
    assert place.marts() == expected(text)


def test_gzip_and_plain_drops_give_the_same(built: Place) -> None:
    marts = built.marts()
    text = (built.source / "sales/golden.csv").read_bytes()
    (built.source / "sales/golden.csv").unlink()
    built.put("sales/deep/er/golden.csv.gz", gzip.compress(text))
    built.build()
    assert built.marts() == marts


DAYS = [date(2023, 11, 1) + timedelta(days=n) for n in (0, 29, 30, 60, 61, 75, 91, 120, 121, 150)]

random_line = st.builds(
    line,
    transaction=st.sampled_from(["A", "B", "C", "D", "E", "F", ""]),
    customer=st.sampled_from([1, 2, 3, 4, 99]),
    store=st.sampled_from([121, 122]),
    product=st.sampled_from(["tea", "salt"]),
    day=st.sampled_from([day.isoformat() for day in DAYS]),
    person=st.sampled_from([1, 2, 3, 77]),
    price=st.sampled_from(["0.00", "0.01", "10.00", "33.35", "60000.00"]),
    quantity=st.sampled_from([-2, -1, 1, 1, 2, 3]),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drops=st.lists(st.lists(random_line, min_size=1, max_size=30), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
    split_bytes=st.sampled_from([1 << 10, 1 << 25]),
    rollup_lines=st.sampled_from([9, 10**6]),
    finish_rows=st.sampled_from([2, 10**6]),
)
def test_random_drops_equal_a_row_by_row_calculation_whatever_the_splits_and_the_order(
    tmp_path_factory: pytest.TempPathFactory,
    drops: list[list[str]],
    seed: int,
    split_bytes: int,
    rollup_lines: int,
    finish_rows: int,
) -> None:
    place = Place(tmp_path_factory.mktemp("random"), policy=UNKNOWN_FINE)
    place.put_dimensions()
    shuffle = random.Random(seed)
    place.runner = Inline(order=lambda indexes: shuffle.sample(indexes, len(indexes)))
    limits = {"split_bytes": split_bytes, "rollup_lines": rollup_lines, "finish_rows": finish_rows}
    place.settings = {"limits": limits}
    texts = [sales(*rows) for rows in drops]
    for number, text in enumerate(texts):
        place.put(f"sales/{shuffle.random()}-{number}.csv", text)
    source = Source()
    source.run({str(number): (number, text.encode()) for number, text in enumerate(texts)})
    wanted = marts_of(source.lines())
    report = place.build()
    if not wanted["customers"]:
        return
    assert report.error is None
    assert place.marts() == wanted


def test_drops_one_by_one_in_any_order_give_the_marts_of_all_at_once(tmp_path: Path) -> None:
    generator = random.Random(5)
    texts = {f"sales/{n}.csv": sales(*(_random_row(generator) for _ in range(40))) for n in range(6)}
    whole, steps = (Place(tmp_path / name, policy=UNKNOWN_FINE) for name in ("whole", "steps"))
    for place in (whole, steps):
        place.put_dimensions()
    delivered = {key: whole.stamp + timedelta(days=n) for n, key in enumerate(texts)}
    for key, text in texts.items():
        whole.put(key, text, delivered[key])
    whole.build()
    for key in generator.sample(list(texts), len(texts)):
        steps.put(key, texts[key], delivered[key])
        assert steps.build().error is None
    assert steps.marts() == whole.marts() == expected(*texts.values())


def _random_row(generator: random.Random) -> str:
    return line(
        transaction=f"T{generator.randrange(60)}",
        customer=generator.randrange(1, 5),
        day=(date(2023, 10, 1) + timedelta(days=generator.randrange(180))).isoformat(),
        person=generator.randrange(1, 4),
        price=str(Decimal(generator.randrange(1, 99999)) / 100),
        quantity=generator.choice([1, 2, 3, -1]),
    )
