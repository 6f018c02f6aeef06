"""Others of each kind of case, drop by drop: the same rows again, moved, withdrawn, replaced, held, and what falls.

Each number is computed by hand; a line is 10.00 unless stated otherwise.
"""

import gzip
import json
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.kit import CUSTOMERS, SALES, Place, line, marts, mentions, sales, total
from support.retail import RETAIL
from support.shop import Shop

from jobs.report.run_report import RunReport

pytestmark = [pytest.mark.database, pytest.mark.usefixtures("on_the_server", "small_builds", "dimensions")]

WITHOUT_IDS = SALES.removeprefix("transaction_id,")
NOW = datetime(2024, 4, 1, tzinfo=UTC)


def rows(count: int, first: int = 0) -> list[str]:
    """Return rows with ids of their own, each of 10.00."""
    return [line(f"N{n}") for n in range(first, first + count)]


def anonymous(count: int, first: int = 0) -> str:
    """Write a drop of rows without ids, each of 10.00 and of another product."""
    return sales(*(line(product=f"p{n}").removeprefix("T1,") for n in range(first, first + count)), header=WITHOUT_IDS)


def applied(place: Place, choice: str = "apply") -> None:
    place.settings = {"drops": {"withdrawals": choice}}


# The same rows under other bytes


def gzipped(text: str) -> bytes:
    return gzip.compress(text.encode())


def by_excel(text: str) -> bytes:
    return ("\ufeff" + text.replace("\n", "\r\n")).encode()


def turned(text: str) -> bytes:
    """Write the columns the other way round."""
    return "\n".join(",".join(reversed(row.split(","))) for row in text.splitlines()).encode()


def backwards(text: str) -> bytes:
    """Write the rows in another order."""
    header, *rest = text.splitlines()
    return "\n".join([header, *reversed(rest)]).encode()


def longhand(text: str) -> bytes:
    """Write the same numbers with more zeros, and the values in quotes."""
    return "\n".join(
        ",".join(f'"{v}"' for v in row.split(",")) for row in text.replace("10.00", "10.000").split()
    ).encode()


AGAIN = [gzipped, by_excel, turned, backwards, longhand]


@pytest.mark.parametrize("text", [sales(*rows(3)), anonymous(20)], ids=["ids", "twenty"])
def test_the_same_rows_under_other_bytes_are_one_delivery(place: Place, text: str) -> None:
    place.put("sales/a.csv", text)
    assert place.build().exit_code == 0
    first = total(place)
    for again in AGAIN:
        place.put(f"sales/{again.__name__}.csv{'.gz' if again is gzipped else ''}", again(text))
    report = place.build()
    assert (report.exit_code, total(place)) == (0, first)
    drops = [drop for drop in report.drops if drop.key.startswith("sales/") and drop.key != "sales/a.csv"]
    assert len(drops) == len(AGAIN)
    for drop in drops:
        assert (drop.state, drop.duplicates, drop.repeated) == ("duplicate", drop.rows_read, drop.rows_read)
        assert (drop.clean, "sales/a.csv" in drop.reason) == (0, True)


def test_small_equal_drops_without_ids_are_all_kept_with_a_warning(place: Place) -> None:
    """Five times 19 rows."""
    place.put("sales/a.csv", anonymous(19))
    keys = [f"sales/{again.__name__}.csv" for again in AGAIN[1:]]
    for key, again in zip(keys, AGAIN[1:], strict=True):
        place.put(key, again(anonymous(19)))
    report = place.build()
    assert (report.exit_code, total(place)) == (0, Decimal("950.00"))
    assert all(any("sales/a.csv" in text and key in text for text in report.warnings) for key in keys)


def test_the_same_bytes_are_one_delivery_however_small(place: Place) -> None:
    place.put("sales/a.csv", anonymous(1))
    place.put("sales/b.csv", anonymous(1))
    place.put("sales/c.csv.gz", gzipped(anonymous(1)))
    assert place.build().exit_code == 0
    assert total(place) == Decimal("10.00")


def test_one_row_more_is_another_delivery(place: Place) -> None:
    """With ids the three that are there again are repeated, and the fourth is new."""
    place.put("sales/a.csv", sales(*rows(3)))
    place.put("sales/b.csv", sales(*rows(4)))
    report = place.build()
    assert (report.totals.clean, report.totals.duplicates, total(place)) == (4, 3, Decimal("40.00"))


def test_each_row_as_often_as_it_is_there(place: Place) -> None:
    """Two scans are not one scan: another delivery, which replaces the first."""
    place.put("sales/a.csv", sales(line("A"), line("B")))
    place.put("sales/b.csv", sales(line("A"), line("B"), line("B")))
    report = place.build()
    assert (report.totals.clean, report.totals.duplicates, total(place)) == (3, 2, Decimal("30.00"))


# Order: a delivery stands where it was first seen


def corrected(place: Place) -> None:
    """Deliver T1 for 10.00, then corrected to 20.00."""
    place.put("sales/1.csv", sales(line(), *rows(1)))
    assert place.build().exit_code == 0
    place.put("sales/2.csv", sales(line(quantity=2)))
    assert place.build().exit_code == 0
    assert total(place) == Decimal("30.00")


def put_again(place: Place) -> None:
    place.put("sales/1.csv", (place.source / "sales/1.csv").read_bytes())


def move(place: Place) -> None:
    content = (place.source / "sales/1.csv").read_bytes()
    (place.source / "sales/1.csv").unlink()
    place.put("sales/archive/z.csv", content)


def move_and_put_again(place: Place) -> None:
    move(place)
    place.put("sales/1.csv", (place.source / "sales/archive/z.csv").read_bytes())


def copy(place: Place) -> None:
    place.put("sales/copy.csv", (place.source / "sales/1.csv").read_bytes())


def move_by_excel(place: Place) -> None:
    text = (place.source / "sales/1.csv").read_text()
    (place.source / "sales/1.csv").unlink()
    place.put("sales/saved.csv", by_excel(text))


def restore_everything(place: Place) -> None:
    """Put all objects again, the newest first."""
    for name in ("sales/2.csv", "sales/1.csv"):
        place.put(name, (place.source / name).read_bytes())


@pytest.mark.parametrize(
    "changes", [[put_again, restore_everything, copy], [move], [move_and_put_again], [move_by_excel]]
)
def test_an_old_drop_that_comes_again_changes_nothing(place: Place, changes: list[Callable[[Place], None]]) -> None:
    corrected(place)
    before = place.marts()
    for change in changes:
        change(place)
        assert (place.build().exit_code, place.marts()) == (0, before)
    assert (place.build(rebuild=True).exit_code, place.marts()) == (0, before)


def test_a_plan_reports_what_was_put_again_as_it_was(tmp_path: Path) -> None:
    """A chmod, a touch, a copy of the whole folder are no new data; another file of the same size is."""
    shop = Shop(tmp_path)
    shop.put_dimensions()
    shop.put("sales/a.csv", sales(line("A1")))
    shop.put("sales/b.csv", sales(line("B1")))
    shop.built()
    for path in (shop.source / "sales").iterdir():
        path.chmod(0o664)
    shop.put("sales/b.csv", sales(line("B2")))
    planned = json.loads(shop.command("plan", "--json").output)
    changes = {drop["key"]: drop["change"] for drop in planned["drops"] if drop["key"].startswith("sales/")}
    assert changes == {"sales/a.csv": "put again", "sales/b.csv": "replaced"}
    output = shop.command("plan").output
    assert "1 put again" in output
    report = shop.built().report
    assert [drop["change"] for drop in report["drops"] if drop["key"] == "sales/a.csv"] == ["put again"]
    assert "nothing new in the drops" in shop.command("plan").output


def test_an_old_drop_that_comes_back_after_its_withdrawal_stands_where_it_stood(place: Place) -> None:
    applied(place)
    corrected(place)
    content = (place.source / "sales/1.csv").read_bytes()
    (place.source / "sales/1.csv").unlink()
    place.build()
    assert total(place) == Decimal("20.00")
    place.put("sales/1.csv", content)
    place.build()
    assert total(place) == Decimal("30.00")


def test_a_version_that_comes_back_under_its_name_counts_again(place: Place) -> None:
    """10.00, then 20.00, then the first bytes again: they are what the name holds."""
    sums = []
    for quantity in (1, 2, 1):
        place.put("sales/a.csv", sales(line(quantity=quantity)))
        assert place.build().exit_code == 0
        sums.append(total(place))
    assert sums == [Decimal("10.00"), Decimal("20.00"), Decimal("10.00")]


def test_a_correction_that_is_overwritten_by_the_old_drop_is_taken_back(place: Place) -> None:
    corrected(place)
    place.put("sales/2.csv", (place.source / "sales/1.csv").read_bytes())
    assert place.build().exit_code == 0
    assert total(place) == Decimal("20.00")  # T1 for 10.00, and N0


def test_a_corrected_drop_that_was_put_later_is_later(place: Place) -> None:
    """The new version of the first file stands behind the second, which it corrects to 50.00."""
    corrected(place)
    place.put("sales/1.csv", sales(line(quantity=5), *rows(1)))
    place.build()
    assert total(place) == Decimal("60.00")


def test_an_old_dimension_that_is_put_again_changes_no_name(place: Place) -> None:
    place.put("sales/a.csv", sales(line()))
    place.build()
    place.put("customers/new.csv", CUSTOMERS.replace("Asha", "Usha"))
    place.build()
    place.put("customers/customers.csv", CUSTOMERS)
    place.build()
    assert place.mart("customers")[0][1] == "Usha Rao"


# Same name, new content


def too_bad() -> str:
    """Write ten good rows, and six of a wrong total: more than 2 %, and more than five."""
    return sales(*rows(10, first=50), *(line(f"B{n}", total="9.99") for n in range(6)))


def test_a_new_version_that_is_no_good_replaces_nothing_and_is_reported(place: Place) -> None:
    """One that is held, one that is rejected, an empty one."""
    place.put("sales/a.csv", sales(*rows(4)))
    place.build()
    before = place.marts()
    for version in (too_bad(), "customer_id,store_id\n1,121\n", ""):
        place.put("sales/a.csv", version)
        report = place.build()
        assert (report.exit_code, place.marts()) == (65, before)
        assert mentions(report, "sales/a.csv")
        assert (place.build().exit_code, place.marts()) == (0, before)
    place.put("sales/a.csv", sales(*rows(5)))
    assert (place.build().exit_code, total(place)) == (0, Decimal("50.00"))


def test_a_drop_without_one_clean_row_is_held(place: Place) -> None:
    place.put("sales/ok.csv", sales(line("OK")))
    place.put("sales/a.csv", sales(line(total="9.99")))
    assert (place.build().exit_code, place.drops()["sales/a.csv"][0]) == (65, "held")


# Withdrawn


def many(place: Place, drops: int, each: int = 1) -> None:
    for n in range(drops):
        place.put(f"sales/{n:03d}.csv", sales(*rows(each, first=n * each)))
    assert place.build().exit_code == 0


def take(place: Place, *numbers: int) -> None:
    for n in numbers:
        (place.source / f"sales/{n:03d}.csv").unlink()


@pytest.mark.parametrize(
    ("drops", "vanished", "code", "left"),
    [
        (40, 1, 0, 39),  # 2.5 %
        (100, 3, 0, 97),  # 3 %
        (100, 4, 65, 100),  # four drops
        (20, 2, 65, 20),  # 10 % of the lines
    ],
)
def test_a_few_drops_are_taken_back_and_reported_and_more_are_asked_for(
    place: Place, drops: int, vanished: int, code: int, left: int
) -> None:
    many(place, drops)
    take(place, *range(vanished))
    report = place.build()
    assert (report.exit_code, total(place)) == (code, Decimal(10 * left))
    assert mentions(report, *(f"sales/{n:03d}.csv" for n in range(vanished)))


def test_a_lifecycle_rule_that_takes_one_a_day_is_asked_about_on_the_fourth_day(place: Place) -> None:
    """100 drops of one line; what was taken back in the last 90 days is weighed together."""
    many(place, 100)
    outcomes = []
    for n in range(5):
        take(place, n)
        report = place.build(clock=lambda n=n: NOW + timedelta(days=n + 1))
        outcomes.append((report.exit_code, total(place) / 10))
    assert outcomes[:4] == [(0, 99), (0, 98), (0, 97), (65, 97)]
    assert outcomes[4][1] == 97


def test_small_withdrawals_are_weighed_together_by_lines_too(place: Place) -> None:
    """Ten drops of ten lines, then five of one: two of one line are 1.9 %, and one of ten is 9.5 % more."""
    for n in range(10):
        place.put(f"sales/big-{n}.csv", sales(*rows(10, first=100 + 10 * n)))
    many(place, 5)
    take(place, 0, 1)
    assert (place.build().exit_code, total(place)) == (0, Decimal("1030.00"))
    (place.source / "sales/big-0.csv").unlink()
    assert (place.build().exit_code, total(place)) == (65, Decimal("1030.00"))


def test_withdrawals_of_a_hundred_days_ago_are_forgotten(place: Place) -> None:
    many(place, 100)
    for days, numbers in ((1, (0, 1, 2)), (101, (3, 4))):
        take(place, *numbers)
        clock = NOW + timedelta(days=days)
        assert place.build(clock=lambda clock=clock: clock).exit_code == 0
    assert total(place) == Decimal("950.00")


def test_what_only_moved_is_not_withdrawn(place: Place) -> None:
    many(place, 20)
    for n in range(20):
        content = (place.source / f"sales/{n:03d}.csv").read_bytes()
        take(place, n)
        place.put(f"sales/2024/{n:03d}.csv", content)
    assert (place.build().exit_code, total(place)) == (0, Decimal("200.00"))


def test_what_was_replaced_under_its_name_is_not_withdrawn(place: Place) -> None:
    many(place, 5)
    for n in range(5):
        place.put(f"sales/{n:03d}.csv", sales(line(f"N{n}", quantity=2)))
    assert (place.build().exit_code, total(place)) == (0, Decimal("100.00"))


@pytest.mark.parametrize(("choice", "left"), [("apply", 1), ("keep", 20)])
def test_the_setting_decides_without_asking(place: Place, choice: str, left: int) -> None:
    applied(place, choice)
    many(place, 20)
    take(place, *range(19))
    assert (place.build().exit_code, total(place)) == (0, Decimal(10 * left))
    assert (place.build(rebuild=True).exit_code, total(place)) == (0, Decimal(10 * left))


def test_the_landing_zone_may_be_emptied_and_filled_day_by_day(place: Place) -> None:
    """Where drops are kept, each day's file alone is there, under a name of its own; ten days are ten lines."""
    applied(place, "keep")
    for n in range(10):
        if n:
            take(place, n - 1)
        place.put(f"sales/{n:03d}.csv", sales(*rows(1, first=n)))
        assert place.build().exit_code == 0
    assert total(place) == Decimal("100.00")


def test_a_lost_state_names_what_to_put_back_where_the_landing_zone_is_emptied(place: Place) -> None:
    applied(place, "keep")
    many(place, 3)
    take(place, 0, 1)
    assert place.build().exit_code == 0
    before = place.marts()
    shutil.rmtree(place.folder / "state")
    report = place.build()
    assert report.exit_code != 0
    assert report.error is not None
    assert mentions(report, "sales/000.csv", "sales/001.csv")
    assert place.marts() == before


def test_a_dimension_whose_drops_are_all_gone_keeps_its_last_table(place: Place) -> None:
    place.put("sales/a.csv", sales(*rows(2)))
    place.build()
    before = place.marts()
    for kind in ("customers", "sales_team", "stores"):
        for path in (place.source / kind).iterdir():
            path.unlink()
        report = place.build()
        assert (report.exit_code, report.error, place.marts()) == (0, None, before)
        assert any(kind in text for text in report.warnings)
    place.put("sales/b.csv", sales(line("B", quantity=3)))
    assert (place.build().exit_code, total(place)) == (0, Decimal("50.00"))
    assert place.mart("customers")[0][1] == "Asha Rao"


# Lines without ids: the same days again


def test_a_drop_that_looks_like_the_same_days_again_is_held(place: Place) -> None:
    """Six pairs of drops, each with products of its own."""
    pairs = [
        (anonymous(40), anonymous(40, first=20), 40),  # 20 of 40 are there already
        (anonymous(40, first=1000), anonymous(40, first=1021), 80),  # 19 of 40
        (anonymous(100, first=2000), anonymous(20, first=2080), 100),  # all of the later, a fifth of the first
        (anonymous(20, first=3000), anonymous(100, first=3000), 20),  # all of the first, a fifth of the later
        (anonymous(19, first=4000), anonymous(18, first=4000), 37),  # below 20 lines nothing is compared
        (sales(*rows(40)), anonymous(40, first=5000), 80),  # those with ids are another matter
    ]
    for number, (first, second, _) in enumerate(pairs):
        place.put(f"sales/{number}-a.csv", first)
        place.put(f"sales/{number}-b.csv", second)
    report = place.build()
    assert (report.exit_code, total(place)) == (65, Decimal(10 * sum(counted for *_, counted in pairs)))
    drops = place.drops()
    for number, (first, _, counted) in enumerate(pairs):
        held = counted == first.count("\n") - 1
        state, reason = drops[f"sales/{number}-b.csv"]
        assert (state, drops[f"sales/{number}-a.csv"][0]) == ("held" if held else "live", "live")
        assert not held or f"sales/{number}-a.csv" in reason


def test_overlaps_are_of_one_other_drop_and_not_of_all_together(place: Place) -> None:
    """A quarter of the third is in each of two others."""
    for name, text in {"a": anonymous(40), "b": anonymous(40, first=100)}.items():
        place.put(f"sales/{name}.csv", text)
    header, *third = anonymous(20, first=200).splitlines()
    more = [*anonymous(10).splitlines()[1:], *anonymous(10, first=100).splitlines()[1:]]
    place.put("sales/c.csv", "\n".join([header, *third, *more, ""]))
    assert (place.build().exit_code, total(place)) == (0, Decimal("1200.00"))


def test_each_line_overlaps_as_often_as_it_is_there(place: Place) -> None:
    """30 times the same line, of which the other drop has one."""
    row = line(product="p0").removeprefix("T1,")
    place.put("sales/a.csv", anonymous(40))
    place.put("sales/b.csv", sales(*[row] * 30, header=WITHOUT_IDS))
    assert (place.build().exit_code, total(place)) == (0, Decimal("700.00"))


def test_the_live_one_of_two_stays_though_it_stands_later(place: Place) -> None:
    place.put("sales/b.csv", anonymous(40))
    place.build()
    place.put("sales/a.csv", anonymous(30), delivered=datetime(2023, 12, 1, tzinfo=UTC))
    assert (place.build().exit_code, total(place)) == (65, Decimal("400.00"))
    assert (place.drops()["sales/a.csv"][0], place.drops()["sales/b.csv"][0]) == ("held", "live")


def test_a_held_one_is_released_when_the_other_is_no_longer_live(place: Place) -> None:
    applied(place)
    place.put("sales/a.csv", anonymous(40))
    place.put("sales/b.csv", anonymous(40, first=10))
    assert place.build().exit_code == 65
    (place.source / "sales/a.csv").unlink()
    assert (place.build().exit_code, total(place)) == (0, Decimal("400.00"))
    assert place.drops()["sales/b.csv"][0] == "live"


def test_a_new_version_of_a_drop_is_not_held_for_its_old_one(place: Place) -> None:
    place.put("sales/a.csv", anonymous(40))
    place.build()
    place.put("sales/a.csv", anonymous(41))
    assert (place.build().exit_code, total(place)) == (0, Decimal("410.00"))


# What falls


def thousand(place: Place, lines: int = 1000) -> None:
    """Deliver ten drops of as many lines in all."""
    many(place, 10, lines // 10)


def halved(place: Place, drops: int, each: int) -> None:
    """Correct the prices of some drops to a tenth."""
    for n in range(drops):
        text = sales(*rows(each, first=n * each)).replace("10.00,1,10.00", "1.00,1,1.00")
        place.put(f"sales/{n:03d}.csv", text)


def test_a_total_that_falls_by_more_than_a_twentieth_is_not_published(place: Place) -> None:
    """One of ten drops of 1,000.00 comes at a tenth of its price: 9,100.00 are 9 % less."""
    thousand(place)
    halved(place, 1, 100)
    report = place.build()
    assert (report.exit_code, total(place)) == (65, Decimal("10000.00"))
    assert mentions(report, "max_fall", "accept-fall")


@pytest.mark.parametrize(
    ("lines", "policy", "left"),
    [
        (1000, "max_fall = 0.1", "9100.00"),
        (990, "", "9009.00"),  # 990 lines are no 1,000: not guarded
        (1000, "max_fall_from = 2000", "9100.00"),
    ],
)
def test_what_the_policy_allows_to_fall_falls(tmp_path: Path, lines: int, policy: str, left: str) -> None:
    shop = Shop(tmp_path, policy_text=policy)
    shop.put_dimensions()
    for n in range(10):
        shop.put(f"sales/{n:03d}.csv", sales(*rows(lines // 10, first=n * (lines // 10))))
    assert shop.built().code == 0
    halved(shop, 1, lines // 10)
    assert (shop.built().code, shop.sums()) == (0, (Decimal(left), Decimal(left)))


def test_a_fall_below_the_bound_is_published(place: Place) -> None:
    """40 of 1,000 lines lose nine tenths: 3.6 %."""
    many(place, 25, 40)
    halved(place, 1, 40)
    assert (place.build().exit_code, total(place)) == (0, Decimal("9640.00"))


def test_what_an_applied_withdrawal_takes_back_is_no_fall(place: Place) -> None:
    applied(place)
    thousand(place)
    take(place, 0, 1)
    assert (place.build().exit_code, total(place)) == (0, Decimal("8000.00"))


def test_a_new_as_of_that_is_earlier_is_no_fall(place: Place) -> None:
    """The total up to the last publication's as_of is compared, not that up to the new one."""
    many(place, 10, 100)
    place.put("sales/march.csv", sales(*(line(f"M{n}", day="2024-03-20") for n in range(500))))
    assert place.build().exit_code == 0
    assert place.build(as_of=datetime(2024, 2, 29, tzinfo=UTC).date()).exit_code == 0
    assert total(place) == Decimal("10000.00")


def test_people_accept_a_fall_with_a_reason(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.put_dimensions()
    for n in range(10):
        shop.put(f"sales/{n:03d}.csv", sales(*rows(100, first=n * 100)))
    assert shop.built().code == 0
    halved(shop, 1, 100)
    built = shop.built()
    assert (built.code, shop.sums()) == (65, (Decimal("10000.00"), Decimal("10000.00")))
    shop.command("accept-fall", built.report["run_id"], "--why", "prices were wrong")
    assert (shop.built().code, shop.sums()) == (0, (Decimal("9100.00"), Decimal("9100.00")))
    halved(shop, 2, 100)  # another fall is another question
    assert (shop.built().code, shop.sums()) == (65, (Decimal("9100.00"), Decimal("9100.00")))


# Ids that are live more than once


def test_check_ids_lists_those_of_several_customers_stores_or_months(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.put_dimensions()
    shop.put("sales/a.csv", sales(*map(line, ("T1", "T2", "T3", "T4", "N/A", "ZZ9"))))
    others = [line("T1", customer=2), line("T2", store=122), line("T3", day="2024-02-10")]
    shop.put("sales/b.csv", sales(*others, line("T4", product="rice"), line("N/A", customer=2)))
    shop.built()
    words = shop.command("check", "ids", code=None).output.split()
    assert {"T1", "T2", "T3", "T4", "N/A", "ZZ9"} & set(words) == {"T1", "T2", "T3"}


def test_check_ids_counts_lines_that_count(tmp_path: Path) -> None:
    """Not those that a later delivery replaced or repeated, in the money neither."""
    shop = Shop(tmp_path)
    shop.policy_text = 'transaction_key = ["store_id"]\n'
    shop.put_dimensions()
    shop.put("sales/a.csv", sales(line("T1"), line("T2"), line("T2", customer=2, price="3.00")))
    shop.put("sales/b.csv", sales(line("T1", day="2024-02-01", price="99.00"), line("T2")))
    shop.built()
    result = json.loads(shop.command("check", "ids", "--json").output)
    assert [(row["transaction_id"], row["lines"], row["total"]) for row in result["shown"]] == [("T2", 2, "13.00")]


# Names that are no data


def test_a_name_of_no_data_is_not_read_and_ends_no_run(place: Place) -> None:
    place.put("sales/day.csv", sales(line()))
    keys = [
        "sales/_a.csv",
        "sales/.a.csv",
        "sales/_temporary/0/a.csv",
        "sales/.staging/a.csv",
        "sales/__MACOSX/a.csv",
        "sales/a.csv.crc",
        "sales/a.csv.part",
        "sales/a.csv.tmp",
        "sales/_SUCCESS",
    ]
    for number, key in enumerate(keys):
        place.put(key, sales(line(f"other-{number}")))
    report = place.build()
    assert (report.exit_code, total(place)) == (0, Decimal("10.00"))
    assert not {*keys} & {*place.drops()}


def test_days_of_sales_in_another_format_are_reported_by_name_once(place: Place) -> None:
    place.put("sales/day.csv", sales(line()))
    keys = ("sales/day.xlsx", "sales/day.jsonl", "sales/day.csv.xz", "sales/deep/er/day.TSV")
    for key in keys:
        place.put(key, f"something in {key}")
    report = place.build()
    assert (report.exit_code, total(place)) == (65, Decimal("10.00"))
    assert mentions(report, *keys)
    assert place.build().exit_code == 0


# The report


def test_a_run_that_reads_nothing_and_changes_numbers_reports_why(place: Place) -> None:
    place.put("sales/a.csv", sales(line(), line()))
    place.build()
    report = place.build(policy=_policy({"equal_lines": "drop"}))
    assert (report.totals.scanned, total(place)) == (0, Decimal("10.00"))
    assert mentions(report, "policy")


def test_an_erasure_is_no_reason_of_later_changes(place: Place) -> None:
    place.put("sales/a.csv", sales(line(), line("T2", customer=2), line("T3", customer=2, day="2024-03-20")))

    def build(day: date) -> RunReport:
        return place.build(as_of=day, clock=lambda: datetime.now(UTC))

    build(date(2024, 3, 1))
    marts("erase", "customer", "1", "--why", "asked for", "--yes", *place.flags)
    assert build(date(2024, 3, 1)).totals.scanned == 1
    report = build(date(2024, 3, 31))
    assert mentions(report, "as_of changed from 2024-03-01 to 2024-03-31")
    assert not mentions(report, "a person was erased")


def test_the_ledger_keeps_repeated_and_replaced_with_their_money(place: Place) -> None:
    place.put("sales/a.csv", sales(line(), line(product="rice", quantity=2)))
    place.put("sales/b.csv", sales(line(), line(product="rice", quantity=3)))
    place.build()
    warehouse: Any = place.warehouse(read_only=True)
    try:
        (record,) = [r for r in warehouse.drops() if r.object_key == "sales/a.csv"]
    finally:
        warehouse.close()
    counts: Sequence[int] = (record.repeated, record.replaced, record.repeated_cents, record.replaced_cents)
    assert (counts, record.duplicates, record.clean) == ((1, 1, 1000, 2000), 2, 0)


def _policy(values: dict[str, Any]) -> Any:
    from marts.policy import read_policy

    return read_policy(values, "policy.toml", RETAIL)


# What people decided holds for the content, and for what they saw


def accept(place: Place, drop: str) -> None:
    marts("quarantine", "accept", drop, "--why", "known", *place.flags)


def again(place: Place, key: str) -> None:
    """Put the same bytes again: another version of the object."""
    place.put(key, (place.source / key).read_bytes())


def test_an_accepted_drop_that_is_put_again_counts_on(place: Place) -> None:
    place.put("sales/a.csv", sales(*rows(10)))
    place.put("sales/bad.csv", sales(*rows(9, first=10), *(line(f"X{n}", day="soon") for n in range(6))))
    assert (place.build().exit_code, total(place)) == (65, Decimal("100.00"))
    accept(place, "bad.csv")
    assert (place.build().exit_code, total(place)) == (0, Decimal("190.00"))
    again(place, "sales/bad.csv")
    assert (place.build().exit_code, total(place)) == (0, Decimal("190.00"))
    (place.source / "sales/bad.csv").rename(place.source / "sales/moved.csv")
    assert (place.build().exit_code, total(place)) == (0, Decimal("190.00"))


def test_a_repaired_drop_that_is_put_again_stays_repaired(place: Place) -> None:
    place.put("sales/a.csv", sales(*rows(99), line("X", quantity=5, day="soon")))
    assert (place.build().exit_code, total(place)) == (0, Decimal("990.00"))
    table = marts("quarantine", "export", "a.csv", *place.flags).stdout.replace("soon", "2024-01-11")
    repaired = place.folder / "repaired.csv"
    repaired.write_text(table)
    marts("quarantine", "replay", "a.csv", str(repaired), *place.flags)
    assert (place.build().exit_code, total(place)) == (0, Decimal("1040.00"))
    again(place, "sales/a.csv")
    assert (place.build().exit_code, total(place)) == (0, Decimal("1040.00"))
    assert (place.build(rebuild=True).exit_code, total(place)) == (0, Decimal("1040.00"))


def test_of_two_look_alikes_the_live_one_stays_though_it_is_put_again(place: Place) -> None:
    place.put("sales/b.csv", anonymous(40))
    place.build()
    place.put("sales/a.csv", anonymous(30), delivered=datetime(2023, 12, 1, tzinfo=UTC))
    assert place.build().exit_code == 65
    again(place, "sales/b.csv")
    place.build()
    assert (place.drops()["sales/a.csv"][0], place.drops()["sales/b.csv"][0]) == ("held", "live")


def test_two_look_alikes_of_which_one_was_accepted_count_from_run_to_run(place: Place) -> None:
    place.put("sales/b.csv", anonymous(40))
    place.build()
    place.put("sales/a.csv", anonymous(30), delivered=datetime(2023, 12, 1, tzinfo=UTC))
    assert place.build().exit_code == 65
    accept(place, "a.csv")
    for _ in range(3):
        assert (place.build().exit_code, total(place)) == (0, Decimal("700.00"))
    place.put("sales/c.csv", anonymous(31))  # nobody has accepted this one
    assert (place.build().exit_code, total(place)) == (65, Decimal("700.00"))


def test_who_accepts_bad_rows_has_not_accepted_the_same_days_again(place: Place) -> None:
    place.put("sales/a.csv", anonymous(40))
    bad = sales(*(line(day="soon"),) * 9).partition("\n")[2].replace("T1,", "")
    place.put("sales/b.csv", anonymous(41) + bad)
    assert place.build().exit_code == 65
    accept(place, "b.csv")
    report = place.build()
    assert (report.exit_code, total(place)) == (65, Decimal("400.00"))
    assert "looks like the same days again" in place.drops()["sales/b.csv"][-1]
    accept(place, "b.csv")
    assert (place.build().exit_code, total(place)) == (0, Decimal("810.00"))


def test_what_is_accepted_is_shown_as_held_no_longer(place: Place) -> None:
    place.put("sales/a.csv", anonymous(40))
    place.put("sales/b.csv", anonymous(40, first=10))
    assert place.build().exit_code == 65
    accept(place, "b.csv")
    assert "is not held" in str(marts("quarantine", "accept", "b.csv", "--why", "x", *place.flags, code=2).exception)


def test_a_new_version_that_equals_a_held_drop_replaces_nothing(place: Place) -> None:
    place.put("sales/k.csv", sales(*rows(10)))
    bad = sales(*rows(9, first=10), line("X", day="soon"))
    place.put("sales/x.csv", bad)
    assert (place.build().exit_code, total(place)) == (65, Decimal("100.00"))
    place.put("sales/k.csv", bad)
    place.build()
    assert total(place) == Decimal("100.00")


@pytest.mark.parametrize("other", ["2024-01-10 ", " 2024-01-10\t"])
def test_white_space_around_a_day_is_no_other_row(place: Place, other: str) -> None:
    place.put("sales/a.csv", anonymous(40))
    place.put("sales/b.csv", anonymous(40).replace("2024-01-10", other))
    assert (place.build().exit_code, total(place)) == (0, Decimal("400.00"))
    assert place.drops()["sales/b.csv"][0] == "duplicate"


def test_what_was_held_and_is_removed_is_no_withdrawal(place: Place) -> None:
    many(place, 100)
    for n in range(3):
        place.put(f"sales/bad-{n}.csv", sales(*rows(9, first=500 + 10 * n), line("X", day="soon")))
    place.build()
    for n in range(3):
        (place.source / f"sales/bad-{n}.csv").unlink()
    take(place, 0, 1, 2)
    assert (place.build().exit_code, total(place)) == (0, Decimal("970.00"))


def test_a_dimension_is_none_of_the_drops_that_withdraw_decides_about(place: Place) -> None:
    place.put("sales/a.csv", sales(*rows(2)))
    place.build()
    (place.source / "customers/customers.csv").unlink()
    refused = marts("withdraw", "accept", "customers.csv", *place.flags, code=2).exception
    assert "is not a live drop whose object is missing" in str(refused)
