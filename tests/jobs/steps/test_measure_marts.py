"""Marts are measured by parts: the measures are those of all rows at once; files that did not change are not read."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from support.kit import Place, line, sales
from support.retail import CUSTOMERS_MART

from jobs.adapters.store.open import StoreAddress
from jobs.steps import measure_marts
from jobs.steps.materialize import MartRows, saved_rows
from jobs.steps.materialize_task import rows_of
from jobs.steps.measure_marts import MeasureTask, PartMeasured, measure_mart, run_measure
from marts.policy import Policy
from marts.quality.findings import Measured
from marts.quality.key_measures import settle, with_keys
from marts.quality.measures import measure
from marts.quality.rules import Rule

RULES = [
    Rule("expect_column_values_to_not_be_null", {"column": "full_name"}),
    Rule("expect_column_values_to_be_between", {"column": "total_sales", "min_value": 100}),
    Rule("expect_column_sum_to_be_between", {"column": "total_sales", "min_value": 1, "max_value": 2}),
    Rule("expect_column_max_to_be_between", {"column": "purchase_frequency", "max_value": 9}),
    Rule("expect_table_row_count_to_be_between", {"min_value": 3}),
    Rule("expect_column_values_to_be_unique", {"column": "total_sales"}),
    Rule("expect_column_values_to_be_unique", {"column": "purchase_frequency"}),
    Rule("expect_compound_columns_to_be_unique", {"column_list": ["customer_id", "sales_date_month"]}),
    Rule("expect_column_proportion_of_unique_values_to_be_between", {"column": "customer_segment", "max_value": 1}),
]


class Watched:
    """A place whose customers' mart has several files, and what is measured of it."""

    def __init__(self, place: Place) -> None:
        self.place, self.tasks = place, 0
        place.policy = Policy(max_unknown_ratio=1)
        place.settings = {"limits": {"finish_rows": 40, "rollup_lines": 150}}
        place.put_dimensions()
        self.random = random.Random(7)
        self.deliver("first", 300, range(1, 200))

    def deliver(self, name: str, lines: int, people: Sequence[int]) -> None:
        some = [self.random.choice(people) for _ in range(lines)]
        prices = [f"{self.random.randrange(1, 300)}.00" for _ in some]
        rows = [line(f"{name}{n}", some[n], day=f"2024-0{n % 3 + 1}-07", price=prices[n]) for n in range(lines)]
        self.place.put(f"sales/{name}.csv", sales(*rows))

    @property
    def state(self) -> StoreAddress:
        settings = self.place.configured()
        return StoreAddress.of(settings.state_uri, settings.s3)

    @property
    def existing(self) -> set[str]:
        return {version.key for version in self.state.open().versions("marts/customers")}

    def build(self) -> MartRows:
        """Build; return the rows that are live."""
        assert self.place.build().error is None
        warehouse = self.place.warehouse()
        fingerprint = warehouse.live()["customers"].fingerprint
        warehouse.close()
        rows = saved_rows(self.state.open(), "customers", fingerprint, self.existing)
        assert rows
        return rows

    def run(self, tasks: Sequence[MeasureTask]) -> Iterator[tuple[int, PartMeasured]]:
        self.tasks += len(tasks)
        return ((n, run_measure(tasks[n])) for n in reversed(range(len(tasks))))  # as workers end: in any order

    def measured(self, rows: MartRows, before: MartRows | None = None, rules: Sequence[Rule] = RULES) -> Measured:
        self.tasks = 0
        return measure_mart(self.state, CUSTOMERS_MART, rows, before, rules, self.existing, self.run)

    def at_once(self, rows: MartRows) -> Measured:
        return self.at_once_by(rows, RULES)

    def at_once_by(self, rows: MartRows, rules: Sequence[Rule]) -> Measured:
        """Measure all rows as one block."""
        store = self.state.open()
        table = pa.concat_tables([rows_of(store, CUSTOMERS_MART, *item) for item in rows.parts]).combine_chunks()
        measured = measure(rules, measure_marts._frame(CUSTOMERS_MART, table))
        displayed = measure_marts._displayed(CUSTOMERS_MART)
        return with_keys(measured.measured, {keys.rule.id: settle([keys], displayed) for keys in measured.keys})


@pytest.fixture
def watched(place: Place) -> Watched:
    return Watched(place)


def without_extremes(measured: Measured) -> Measured:
    """The measures without extremes where no rule is about them."""
    extremes = {rule.id for rule in RULES if "max" in rule.type}
    bare = {n: m if n in extremes else replace(m, low=None, high=None) for n, m in measured.rules.items()}
    return replace(measured, rules=bare)


def alone(rules: Sequence[Rule]) -> list[Rule]:
    """The rules whose measures are stored."""
    return [rule for rule in rules if not measure_marts._is_across(rule, CUSTOMERS_MART)]


def holding(rules: Sequence[Rule]) -> list[Rule]:
    """Those that no row breaks."""
    return [rule for rule in alone(rules) if rule.kwargs.get("min_value") != 100]


def test_the_measures_of_parts_are_those_of_all_rows(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_marts, "_BLOCK", 17)
    rows = watched.build()
    assert len(rows.finished) > 2
    assert watched.measured(rows) == watched.at_once(rows)
    watched.deliver("second", 20, [3, 5, 190])
    again = watched.build()
    assert any(patch for _, patch in again.parts)
    built = watched.measured(again)
    assert built == watched.at_once(again)
    by_type: Any = {(rule.type, rule.columns): built.of(rule) for rule in RULES}
    assert by_type["expect_column_values_to_be_unique", ("total_sales",)].unexpected > 0
    assert by_type["expect_column_values_to_be_between", ("total_sales",)].samples


def test_only_rows_that_differ_are_measured(watched: Watched) -> None:
    rules = holding(RULES)
    rows = watched.build()
    assert watched.measured(rows, rules=rules).rows == rows.rows
    assert watched.tasks == len(rows.finished)
    for name, people in (("second", [7]), ("third", [3, 190, 500]), ("fourth", [7, 8])):
        watched.deliver(name, 6, people)
        again = watched.build()
        assert again.follows == rows.fingerprint
        continued = watched.measured(again, rows, rules)
        assert watched.tasks == 2
        at_once = watched.at_once(again)
        ids = {rule.id for rule in rules}
        wanted = replace(at_once, rules={name: item for name, item in at_once.rules.items() if name in ids})
        assert without_extremes(continued) == without_extremes(wanted)
        rows = again


def test_other_limits_need_no_measures_and_other_rules_do(watched: Watched) -> None:
    rules = holding(RULES)
    rows = watched.build()
    first = watched.measured(rows, rules=rules)
    limits = {"column": "total_sales", "min_value": 5, "max_value": 6}
    other_limits = [Rule(rule.type, limits) if "sum" in rule.type else rule for rule in rules]
    assert watched.measured(rows, rules=other_limits).rows == first.rows
    assert watched.tasks == 0
    more = [*rules, Rule("expect_column_values_to_not_be_null", {"column": "customer_segment"})]
    watched.measured(rows, rules=more)
    assert watched.tasks == len(rows.finished)


def test_all_rows_are_measured_if_one_breaks_a_rule(watched: Watched) -> None:
    rows = watched.build()
    rules = alone(RULES)
    watched.measured(rows, rules=rules)
    watched.deliver("second", 3, [7])
    again = watched.build()
    assert watched.measured(again, rows, rules).rows == again.rows
    assert watched.tasks == 2 + len(again.finished)


def test_the_greatest_value_of_a_removed_row_is_looked_for_among_all(watched: Watched) -> None:
    rule = Rule("expect_column_max_to_be_between", {"column": "total_sales", "max_value": 9})
    watched.place.put("sales/most.csv", sales(line("most", 7, day="2024-01-07", price="9000.00")))
    rows = watched.build()
    assert watched.measured(rows, rules=[rule]).of(rule).high >= 900_000
    watched.place.put("sales/most.csv", sales(line("most", 7, day="2024-01-07", price="10.00")))
    again = watched.build()
    (high,) = {
        item.of(rule).high for item in (watched.measured(again, rows, [rule]), watched.at_once_by(again, [rule]))
    }
    assert isinstance(high, int)
    assert high < 900_000


def test_measures_that_cannot_be_read_are_measured_again(watched: Watched) -> None:
    rows = watched.build()
    rules = alone(RULES)
    first = watched.measured(rows, rules=rules)
    (path,) = (key for key in watched.existing if measure_marts.MEASURED in key)
    watched.state.open().put(path, b"[]")
    assert watched.measured(rows, rules=rules) == first
    assert watched.tasks == len(rows.finished)


def test_a_mart_without_rules_is_counted(watched: Watched) -> None:
    rows = watched.build()
    assert watched.measured(rows, rules=[]).rows == rows.rows
