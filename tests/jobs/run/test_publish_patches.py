"""A publication of few differences exchanges these rows only, on each target, and can be undone."""

import json
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from support.kit import CUSTOMERS, Once, Place, line, sales
from support.retail import CUSTOMERS_MART
from support.servers import SqlServer

from jobs.adapters.store.open import open_store
from jobs.ports.records import Generation, Rollback
from jobs.steps import load
from jobs.steps.materialize import saved_rows
from jobs.steps.materialize_task import rows_of
from marts.policy import Policy

BY = Rollback("rollback-1", "2024-05-01T00:00:00", "Zoë", "wrong prices")
PEOPLE = range(1, 81)


@pytest.fixture(params=["duckdb", pytest.param("mariadb", marks=pytest.mark.database)])
def shop(place: Place, once: Once, request: pytest.FixtureRequest) -> Place:
    """A place with rows of 80 customers and all sellers, built once."""
    if request.param == "mariadb":
        server: SqlServer = request.getfixturevalue("mariadb")
        place.target = server.make_database(f"w{abs(hash(request.node.name)) % 10**12}")
    once(publish, place)
    return place


def publish(place: Place) -> None:
    place.policy = Policy(max_unknown_ratio=1)
    place.settings = {"limits": {"finish_rows": 60, "rollup_lines": 100}, "drops": {"withdrawals": "apply"}}
    place.put_dimensions()
    people = [*PEOPLE, *PEOPLE]
    place.put("sales/first.csv", sales(*(line(f"F{n}", who, day=day(n)) for n, who in enumerate(people))))
    assert place.build().error is None


def day(number: int) -> str:
    return f"2024-0{number % 3 + 1}-0{number % 9 + 1}"


@pytest.fixture
def opened(shop: Place) -> Iterator[Any]:
    warehouse = shop.warehouse()
    yield warehouse
    warehouse.close()


def one_day(place: Place, name: str, *people: int) -> None:
    lines = (line(f"{name}{who}", who, day="2024-02-05", price="7.00") for who in people)
    place.put(f"sales/{name}.csv", sales(*lines))


def live(place: Place, mart: str = "customers") -> Generation:
    with closing(place.warehouse()) as warehouse:
        generation: Generation = warehouse.live()[mart]
        return generation


def patch_rows(place: Place, number: int) -> dict[int, list[tuple[Any, ...]]]:
    """The rows that the patch of a generation removes (0) and adds (1)."""
    columns = ", ".join(column.name for column in CUSTOMERS_MART.columns)
    with closing(place.warehouse()) as warehouse:
        table = f"customers_data_mart_patch_{number}"
        if not warehouse.columns_of(table):
            return {0: [], 1: []}
        query = f"SELECT {columns} FROM {table} WHERE side = {{}} ORDER BY 1, 2"
        return {side: warehouse.execute(query.format(side)) for side in (0, 1)}


def computed(place: Place) -> list[tuple[Any, ...]]:
    """The rows of the live generation, from the files of the state."""
    settings = place.configured()
    store = open_store(settings.state_uri, settings.s3)
    existing = {version.key for version in store.versions("marts/customers")}
    rows = saved_rows(store, "customers", live(place).fingerprint, existing)
    assert rows
    tables = [rows_of(store, CUSTOMERS_MART, *item) for item in rows.parts]
    return [tuple(row.values()) for table in tables for row in table.to_pylist()]


def visible(place: Place) -> list[tuple[Any, ...]]:
    columns = ", ".join(column.name for column in CUSTOMERS_MART.columns)
    with closing(place.warehouse()) as warehouse:
        rows: list[tuple[Any, ...]] = warehouse.execute(f"SELECT {columns} FROM customers_data_mart ORDER BY 1, 2")
        return rows


def go_back(place: Place, run_id: str = "rollback-1") -> None:
    with closing(place.warehouse()) as warehouse:
        warehouse.rollback(replace(BY, run_id=run_id))


def test_only_rows_that_differ_are_exchanged(shop: Place) -> None:
    first, before = live(shop), visible(shop)
    one_day(shop, "a", 7, 900)
    assert shop.build().error is None
    second, after = live(shop), visible(shop)
    assert (second.base, second.earlier) == (first.generation, first.generation)
    assert after == computed(shop)
    patch = patch_rows(shop, second.generation)
    assert patch[0] == [row for row in before if row not in after]
    assert patch[1] == [row for row in after if row not in before]
    assert {row[0] for row in patch[1]} == {7, 900}
    assert len(patch[1]) < 10 < len(after)


def test_a_day_that_changes_no_row_exchanges_none(shop: Place) -> None:
    first, before = live(shop), visible(shop)
    shop.put("customers/customers.csv", CUSTOMERS.replace(",10001,", ",10002,"))
    report = shop.build()
    assert (report.outcome, report.error) == ("published", None)
    second = live(shop)
    assert (second.earlier, second.fingerprint == first.fingerprint) == (first.generation, False)
    assert patch_rows(shop, second.generation) == {0: [], 1: []}
    assert visible(shop) == before


def test_going_back_and_forth_over_patches_and_whole_loads(shop: Place) -> None:
    seen = [visible(shop)]
    one_day(shop, "a", 7)
    shop.build()
    seen.append(visible(shop))
    go_back(shop)
    assert visible(shop) == seen[0]
    go_back(shop, "rollback-2")
    assert visible(shop) == seen[1]
    one_day(shop, "b", *PEOPLE)  # all rows differ
    shop.build()
    seen.append(visible(shop))
    third = live(shop)
    assert (third.base, third.earlier) == (third.generation, 0)
    go_back(shop, "rollback-3")
    assert visible(shop) == seen[1]
    one_day(shop, "c", 9)
    shop.build()
    assert visible(shop) == computed(shop)
    go_back(shop, "rollback-4")
    assert visible(shop) == seen[1]


def test_a_new_day_after_going_back_is_a_patch_over_what_is_live(shop: Place) -> None:
    first = live(shop)
    one_day(shop, "a", 7)
    shop.build()
    go_back(shop)
    one_day(shop, "b", 8)
    shop.build()
    assert (live(shop).base, live(shop).earlier) == (first.generation, first.generation)
    assert visible(shop) == computed(shop)


def test_rows_that_somebody_changed_in_the_target_are_loaded_anew(
    shop: Place, opened: Any, caplog: pytest.LogCaptureFixture
) -> None:
    first = live(shop)
    table = "customers_data_mart_rows" if shop.target else f"customers_data_mart_g{first.generation}"
    opened.execute(f"DELETE FROM {table} WHERE customer_id = 7")
    opened.close()
    one_day(shop, "a", 7)
    assert shop.build().error is None
    assert "customers_data_mart: its rows are not those that were published; all are loaded" in caplog.text
    assert live(shop).earlier == 0
    assert visible(shop) == computed(shop)


def test_rows_of_a_build_that_was_killed_are_removed_and_never_seen(shop: Place, opened: Any) -> None:
    one_day(shop, "a", 7)
    shop.build()
    second = live(shop)
    dead = opened.stage_patch(CUSTOMERS_MART)
    tables = [f"customers_data_mart_patch_{number}" for number in (dead, second.generation)]
    opened.execute(f"INSERT INTO {tables[0]} SELECT * FROM {tables[1]} WHERE side = 1")
    opened.close()
    before = visible(shop)
    assert patch_rows(shop, dead)[1]
    one_day(shop, "b", 8)
    shop.build()
    assert patch_rows(shop, dead) == {0: [], 1: []}
    assert [row for row in visible(shop) if row[0] not in (7, 8)] == [row for row in before if row[0] not in (7, 8)]
    assert visible(shop) == computed(shop)


def test_patches_are_kept_as_long_as_one_can_go_back(shop: Place) -> None:
    numbers = []
    for name in "abc":
        one_day(shop, name, 7)
        shop.build()
        numbers.append(live(shop).generation)
    assert [bool(patch_rows(shop, number)[1]) for number in numbers] == [False, False, True]


def test_a_table_of_somebody_else_with_the_name_of_a_patch_is_left_alone(shop: Place, opened: Any) -> None:
    other = live(shop).generation + 1
    names = [f"customers_data_mart_patch_{number}" for number in range(other, other + 4)]
    for name in names:
        opened.execute(f"CREATE TABLE {name} (customer_id BIGINT)")
        opened.execute(f"INSERT INTO {name} VALUES (7)")
    opened.close()
    for name in "ab":
        one_day(shop, name, 7)
        assert shop.build().error is None
    assert live(shop).earlier
    assert visible(shop) == computed(shop)
    with closing(shop.warehouse()) as warehouse:
        assert [warehouse.execute(f"SELECT * FROM {name}") for name in names] == [[(7,)]] * 4
        own = warehouse.atomically(lambda: warehouse.remove_person(7))
        assert own
        assert [warehouse.execute(f"SELECT * FROM {name}") for name in names] == [[(7,)]] * 4


@pytest.mark.parametrize("shop", ["mariadb"], indirect=True)
@pytest.mark.database
def test_a_build_whose_patch_was_removed_by_another_run_says_so(shop: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    before, run = visible(shop), load._run

    def overtaken(*arguments: Any) -> None:
        with closing(shop.warehouse()) as other:
            other.begin(replace(other.runs(1)[0], run_id="run-y"))
            other.clean_up("run-y")
        run(*arguments)

    monkeypatch.setattr(load, "_run", overtaken)
    one_day(shop, "a", 7)
    report = shop.build()
    assert report.error
    assert report.error.what == "run-y has taken over since this run began"
    assert visible(shop) == before


@pytest.mark.parametrize("per_key", [True, False])
def test_a_query_of_a_suite_sees_the_rows_as_they_will_be(shop: Place, per_key: bool) -> None:
    shop.judge = True
    folder = shop.folder / "suites"
    folder.mkdir()
    query = "SELECT customer_id FROM {batch} GROUP BY customer_id HAVING MAX(customer_lifetime_value) > 1000"
    rows = "SELECT COUNT(*) FROM {batch} HAVING COUNT(*) <> COUNT(DISTINCT customer_id, sales_date_month)"
    if not shop.target:
        rows = rows.replace("DISTINCT customer_id, sales_date_month", "DISTINCT (customer_id, sales_date_month)")
    rules: list[dict[str, Any]] = [
        {"type": "unexpected_rows_expectation", "kwargs": {"unexpected_rows_query": text}, "severity": "critical"}
        for text in (query, rows)
    ]
    rules[0]["meta"] = {"per_key": per_key}
    (folder / "customers_data_mart.json").write_text(json.dumps({"name": "customers_data_mart", "expectations": rules}))
    shop.settings["expectations"] = str(folder)
    one_day(shop, "a", 7)
    assert shop.build().error is None
    assert live(shop).earlier
    before = visible(shop)
    shop.put("sales/b.csv", sales(line("B1", 8, day="2024-02-05", price="2000.00")))
    report = shop.build()
    assert report.error
    assert (report.exit_code, report.error.where) == (65, "customers_data_mart")
    assert visible(shop) == before


def test_a_query_per_key_reads_the_rows_of_keys_that_differ(shop: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type(shop.warehouse())
    ask, answers = kind.ask, []

    def asked(self: Any, query: str) -> Any:
        table = (
            query.partition("FROM (SELECT customer_id, SUM(total_sales) AS months")[2].partition(" FROM ")[2].split()
        )
        if table:
            answers.append(self.execute(f"SELECT DISTINCT customer_id FROM {table[0]} ORDER BY 1"))
        return ask(self, query)

    monkeypatch.setattr(kind, "ask", asked)
    shop.judge = True
    one_day(shop, "a", 7, 8)
    assert shop.build().error is None
    assert answers == [[(7,), (8,)]]


def test_an_erased_person_is_in_no_patch(shop: Place, opened: Any) -> None:
    one_day(shop, "a", 7, 8)
    shop.build()
    second = live(shop)
    assert {row[0] for row in patch_rows(shop, second.generation)[1]} == {7, 8}
    removed = opened.atomically(lambda: opened.remove_person(7))
    opened.close()
    assert removed > 1
    assert {row[0] for side in patch_rows(shop, second.generation).values() for row in side} == {8}
    go_back(shop)
    assert 7 not in {row[0] for row in visible(shop)}


def test_days_of_any_kind_show_what_was_computed(shop: Place) -> None:
    """Days, corrections, withdrawals, rollbacks and rebuilds, in any order."""
    chance, names = random.Random(2), list[str]()
    for number in range(8):
        match chance.randrange(6):
            case 0 if names:
                (shop.source / f"sales/{names.pop()}.csv").unlink()
            case 1 if names:
                one_day(shop, chance.choice(names), *chance.sample(PEOPLE, 3))
            case 2:
                go_back(shop, f"rollback-{number}")
                assert visible(shop) == computed(shop)
                continue
            case 3:
                one_day(shop, f"d{number}", *chance.sample(PEOPLE, 70))
                names.append(f"d{number}")
            case _:
                one_day(shop, f"d{number}", *chance.sample(PEOPLE, 2))
                names.append(f"d{number}")
        report = shop.build(rebuild=chance.random() < 0.1)
        assert report.error is None, report.error
        assert visible(shop) == computed(shop)
