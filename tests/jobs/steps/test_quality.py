"""Great Expectations judges each run: what is wrong is held or reported, pages show it, no wrong mart is published."""

import html
import json
from pathlib import Path
from typing import Any

import pytest
from support.kit import CUSTOMERS, SALES, Place, line, sales
from support.retail import MARTS, RETAIL

from jobs.config.suites import read_file
from jobs.ports.records import ROWS
from jobs.report.run_report import QualityReport, RunReport
from marts.policy import Policy


@pytest.fixture
def fed(place: Place) -> Place:
    """A place with a good drop, its dimensions, and a folder of own suites."""
    place.judge = True
    place.put_dimensions()
    place.put("sales/a.csv", sales(*(line(f"A{n}", customer=n % 4 + 1) for n in range(100))))
    place.settings["expectations"] = str(place.folder / "suites")
    (place.folder / "suites").mkdir()
    return place


def rule(type_: str, severity: str = "critical", **kwargs: Any) -> dict[str, Any]:
    return {"type": type_, "kwargs": kwargs, "severity": severity}


def own(place: Place, name: str, *entries: dict[str, Any], keep: bool = True) -> None:
    """Write a suite of the user's: the shipped one and more, or these rules alone."""
    data, _ = read_file(name, RETAIL, None)
    data["expectations"] = [*(data["expectations"] if keep else []), *entries]
    (place.folder / "suites" / f"{name}.json").write_text(json.dumps(data))


def judged(report: RunReport) -> dict[str, QualityReport]:
    return {quality.name: quality for quality in report.quality}


def page(place: Place, name: str, run: int = 1) -> str:
    return (place.folder / f"state/docs/runs/run-{run}/{name}.html").read_text()


def drop_report(report: RunReport, key: str) -> Any:
    (drop,) = (drop for drop in report.drops if drop.key == key)
    return drop


def test_each_kind_and_each_mart_is_judged_once_per_run(fed: Place) -> None:
    results = judged(fed.build())
    assert list(results) == [
        "sales",
        "customers",
        "stores",
        "sales_team",
        *(mart.table for mart in MARTS.values()),
    ]
    assert {result.outcome for result in results.values()} == {"passed"}
    assert (results["sales"].drops, results["sales"].rows, results["customers_data_mart"].rows) == (1, 100, 4)
    official = json.loads((fed.folder / "state/docs/runs/run-1/sales.json").read_text())
    assert official["success"] is True
    assert official["statistics"]["evaluated_expectations"] == results["sales"].rules
    assert official["meta"]["run_id"]["run_name"] == "run-1"


def test_a_run_that_brings_nothing_judges_nothing(fed: Place) -> None:
    fed.build()
    assert fed.build().quality == ()


def test_a_run_that_failed_is_judged_again_by_the_next(fed: Place) -> None:
    fed.put("sales/b.csv", sales(*(line(f"B{n}", customer=99) for n in range(50))))
    assert fed.build(policy=Policy(max_unknown_ratio=0.1)).exit_code == 65
    assert judged(fed.build(policy=Policy(max_unknown_ratio=0.9)))["sales"].drops == 2


def test_a_critical_rule_of_the_user_puts_rows_into_quarantine(fed: Place) -> None:
    own(fed, "sales", rule("expect_column_values_to_be_between", column="price", max_value=10.5, mostly=0.9))
    fed.put("sales/b.csv", sales(*(line(f"B{n}") for n in range(99)), line("B99", price="10.51")))
    report = fed.build()
    drop = drop_report(report, "sales/b.csv")
    assert (drop.state, drop.clean, drop.quarantined) == ("live", 99, 1)
    (reason,) = drop.reasons
    assert (reason.rule, reason.example, reason.line) == ("price is greater than 10.5", "10.51", 101)
    assert reason.raw == line("B99", price="10.51")
    assert judged(report)["sales"].outcome == "passed"
    assert "price is at most 10.5" in page(fed, "sales")


def test_a_warning_keeps_the_rows_and_is_reported(fed: Place) -> None:
    own(fed, "sales", rule("expect_column_values_to_be_between", "warning", column="price", max_value=9))
    report = fed.build()
    assert (report.exit_code, drop_report(report, "sales/a.csv").quarantined) == (0, 0)
    assert judged(report)["sales"].outcome == "warned"
    assert "sales: broken rule: price is at most 9 (100 of 100 rows)" in report.warnings


def test_a_rule_for_some_rows_looks_at_those_only(fed: Place) -> None:
    only = {"type": "comparison", "column": {"name": "store_id"}, "operator": "==", "parameter": 122}
    own(fed, "sales", rule("expect_column_values_to_be_between", column="price", max_value=9, row_condition=only))
    fed.put("sales/b.csv", sales(*(line(f"B{n}") for n in range(99)), line("B99", store=122)))
    report = fed.build(policy=Policy(max_bad_ratio=0.5, max_bad_rows=0))
    assert drop_report(report, "sales/b.csv").quarantined == 1
    assert drop_report(report, "sales/b.csv").state == "held"  # all rows that it looks at break it
    assert drop_report(report, "sales/a.csv").state == "live"


def test_report_and_page_count_the_same_rows_that_break_a_rule(fed: Place) -> None:
    """Of 102 rows 2 are no CSV, and 30 of the others have both columns; all those break the rule."""
    rows = [f"{line(f'B{n}')},{'cash' if n < 40 else ''},{'EUR' if n >= 10 else ''}" for n in range(100)]
    fed.put("sales/a.csv", sales(*rows, "no", "no", header=f"{SALES},payment_mode,currency"))
    pair = {"column_A": "payment_mode", "column_B": "currency", "ignore_row_if": "either_value_is_missing"}
    own(fed, "sales", rule("expect_column_pair_values_to_be_equal", "warning", **pair))
    report = fed.build(policy=Policy(max_bad_ratio=0.5))
    (broken,) = judged(report)["sales"].broken
    assert (broken.unexpected, broken.rows, broken.basis) == (30, 30, "well-formed rows with both columns")
    wanted = f"sales: broken rule: {broken.rule} (30 of 30 well-formed rows with both columns)"
    assert wanted in report.warnings
    text = " ".join(page(fed, "sales").split())
    assert "30 of 30 well-formed rows with both columns break it (100%)" in text
    assert "total rows" not in text


@pytest.mark.parametrize(("most", "state", "outcome"), [(5, "live", "warned"), (0, "held", "failed")])
def test_a_few_bad_rows_of_a_drop_that_counts_are_a_warning(fed: Place, most: int, state: str, outcome: str) -> None:
    """One row of eleven: more than the share of bad rows, fewer than the number."""
    fed.build()
    fed.put("sales/b.csv", sales(*(line(f"B{n}") for n in range(10)), line("B10", total="1")))
    report = fed.build(policy=Policy(max_bad_rows=most))
    assert drop_report(report, "sales/b.csv").state == state
    result = judged(report)["sales"]
    assert (result.outcome, result.quarantined) == (outcome, 1)
    assert "1 row in quarantine" in (fed.folder / "state/docs/index.html").read_text()


def test_a_drop_with_more_broken_rows_than_mostly_allows_is_held(fed: Place) -> None:
    own(fed, "sales", rule("expect_column_values_to_be_in_set", column="product_name", value_set=["tea"], mostly=0.995))
    fed.put("sales/b.csv", sales(*(line(f"B{n}") for n in range(99)), line("B99", product="rum")))
    report = fed.build()
    drop = drop_report(report, "sales/b.csv")
    assert (report.exit_code, drop.state) == (65, "held")
    assert drop.reason == "a critical expectation is broken: product_name is one of tea, in at least 99.5%"
    assert "200 rows of 2 drops, 1 held." in page(fed, "sales")
    assert drop_report(report, "sales/a.csv").state == "live"
    assert report.totals.rows_read == 100


def test_a_rule_about_the_whole_drop_holds_that_drop_only(fed: Place) -> None:
    """Each drop breaks one rule."""
    limits = {
        "rows": (rule("expect_table_row_count_to_be_between", min_value=60), "the number of rows is at least 60"),
        "max": (
            rule("expect_column_max_to_be_between", column="price", max_value=20),
            "the maximum of price is at most 20",
        ),
        "sum": (rule("expect_column_sum_to_be_between", column="quantity", min_value=60), "the sum of quantity is"),
        "mean": (rule("expect_column_mean_to_be_between", column="price", max_value=11.5), "the mean of price is"),
        "columns": (rule("expect_table_column_count_to_equal", value=9), "the number of columns is 9"),
        "values": (
            rule("expect_column_unique_value_count_to_be_between", column="product_name", max_value=2),
            "different values",
        ),
    }
    own(fed, "sales", *(broken for broken, _ in limits.values()))
    drops = {
        "rows": [line(f"B{n}", quantity=2) for n in range(50)],
        "max": [line(f"C{n}", price="20.01" if n == 5 else "10.00") for n in range(100)],
        "sum": [line(f"D{n}", quantity="0.5") for n in range(100)],
        "mean": [line(f"E{n}", price="12.00") for n in range(100)],
        "columns": [line(f"F{n}") + ",x" for n in range(100)],
        "values": [line(f"G{n}", product=f"p{n % 3}") for n in range(100)],
    }
    for name, rows in drops.items():
        fed.put(f"sales/{name}.csv", sales(*rows, header=f"{SALES},more" if name == "columns" else SALES))
    report = fed.build()
    assert drop_report(report, "sales/a.csv").state == "live"
    for name, (_, words) in limits.items():
        # Values are counted when the marts are: too late to hold a drop.
        drop = drop_report(report, f"sales/{name}.csv")
        assert (name, drop.state) == (name, "live" if name == "values" else "held")
        assert name == "values" or words in drop.reason
        (violation,) = (broken for broken in judged(report)["sales"].broken if words in broken.rule)
        assert f"1 of 7 drops break it: sales/{name}.csv" in violation.observed


def test_changed_rules_apply_to_new_drops_and_to_all_if_asked_for(fed: Place) -> None:
    fed.build()
    own(fed, "sales", rule("expect_column_values_to_be_in_set", column="product_name", value_set=["rum"]))
    fed.put("sales/b.csv", sales(line("B1", product="rum")))
    report = fed.build()
    assert "1 drops were judged by older row rules; --rescan judges them again" in report.warnings
    assert (report.totals.quarantined, judged(report)["sales"].drops) == (0, 1)
    again = fed.build(rescan=True)
    assert drop_report(again, "sales/a.csv").state == "held"
    assert judged(again)["sales"].drops == 1


def test_mostly_may_change_without_reading_anything_again(fed: Place) -> None:
    strict = rule("expect_column_values_to_be_in_set", column="product_name", value_set=["tea"], mostly=0.999)
    own(fed, "sales", strict)
    fed.put("sales/b.csv", sales(*(line(f"B{n}") for n in range(99)), line("B99", product="rum")))
    assert drop_report(fed.build(), "sales/b.csv").state == "held"
    own(fed, "sales", {**strict, "kwargs": {**strict["kwargs"], "mostly": 0.9}})
    report = fed.build()
    assert drop_report(report, "sales/b.csv").state == "live"
    assert report.totals.scanned == 0


@pytest.mark.parametrize("split_bytes", [1 << 10, 1 << 20])
def test_duplicate_keys_are_detected_across_the_parts_of_a_drop(fed: Place, split_bytes: int) -> None:
    fed.settings["limits"] = {"split_bytes": split_bytes}
    header = (
        "transaction_id,line_no,customer_id,store_id,product_name,sales_date,sales_person_id,price,quantity,total_cost"
    )
    rows = [f"T{n % 290},1,1,121,tea,2024-01-10,1,10.00,1,10.00" for n in range(300)]
    own(
        fed,
        "sales",
        rule("expect_column_unique_value_count_to_be_between", "warning", column="transaction_id", max_value=9),
    )
    fed.put("sales/b.csv", "\n".join([header, *rows, ""]))
    violations = {broken.rule: broken for broken in judged(fed.build())["sales"].broken}
    key = "customer_id, store_id, sales_date, transaction_id, line_no"
    assert violations[f"({key}) is unique"].unexpected == 20
    assert "sales/b.csv: 290" in violations["transaction_id has at most 9 different values"].observed
    assert not list((fed.folder / "state/keys").rglob("*.parquet"))


def test_a_mart_that_breaks_a_critical_rule_is_never_seen(fed: Place) -> None:
    fed.build()
    before = fed.marts()
    own(fed, "customers_data_mart", rule("expect_column_max_to_be_between", column="purchase_frequency", max_value=25))
    fed.put("sales/b.csv", sales(line("B1")))
    report = fed.build()
    assert (report.outcome, report.exit_code) == ("failed", 65)
    assert report.error
    assert report.error.what == "a critical expectation is broken: the maximum of purchase_frequency is at most 25"
    assert judged(report)["customers_data_mart"].outcome == "failed"
    assert fed.marts() == before
    own(fed, "customers_data_mart")
    assert fed.build().outcome == "published"


def test_a_query_checks_what_no_row_rule_can(fed: Place) -> None:
    query = "SELECT a.customer_id FROM {batch} AS a CROSS JOIN range(30) WHERE a.customer_id = 2"
    own(fed, "customers_data_mart", rule("unexpected_rows_expectation", "warning", unexpected_rows_query=query))
    report = fed.build()
    (broken,) = judged(report)["customers_data_mart"].broken
    assert (broken.rule, broken.observed) == ("the query finds no row", "30")


def test_a_mart_that_shrinks_is_warned_of(fed: Place) -> None:
    fed.settings["drops"] = {"withdrawals": "apply"}
    fed.put("sales/b.csv", sales(*(line(f"B{n}", day=f"2024-0{n % 3 + 1}-10") for n in range(50))))
    fed.build()
    (fed.source / "sales/b.csv").unlink()
    report = fed.build()
    assert report.exit_code == 0
    assert any("90 % of the rows of the live generation" in warning for warning in report.warnings)


def test_people_that_nobody_knows_are_on_the_page_of_sales(fed: Place) -> None:
    fed.put("sales/b.csv", sales(line("B1", customer=99)))
    report = fed.build()
    assert judged(report)["sales"].outcome == "passed"
    assert "1 of 101 lines are not" in page(fed, "sales")


def test_hostile_values_stay_text_and_personal_ones_are_masked(fed: Place) -> None:
    attack = "<script>alert(1)</script>"
    own(fed, "sales", rule("expect_column_values_to_be_in_set", "warning", column="product_name", value_set=["tea"]))
    fed.put("sales/<img src=x onerror=alert(1)>.csv", sales(line("B1", product=attack), line("<b>B2", product="rum")))
    fed.put("customers/new.csv", CUSTOMERS + "7,Zoe,Quist,,,zoe@example.com,\n")
    fed.build()
    for name in ("sales", "customers", "../../index", "../../trends"):
        text = page(fed, name)
        assert "<script" not in text
        assert "<img" not in text
        assert "default-src &#39;none&#39;" in html.escape(text) or "default-src 'none'" in text
        assert "http://" not in text
        assert "https://" not in text
    assert html.escape(attack) in page(fed, "sales")
    assert "zoe@" not in page(fed, "customers")
    assert "xxx@xxxxxxx.xxx" in page(fed, "customers")


def test_the_same_run_gives_the_same_pages(tmp_path: Path) -> None:
    pages = []
    for folder in ("one", "two"):
        place = Place(tmp_path / folder, judge=True)
        place.put_golden()
        place.build()
        docs = tmp_path / folder / "state/docs"
        pages.append({p.relative_to(docs): p.read_text() for p in docs.rglob("*.html") if p.stem != "index"})
    assert pages[0] == pages[1]
    assert len(pages[0]) == 5 + len(MARTS)


def test_pages_of_old_runs_are_removed(fed: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.report.run_records.RUNS", 2)
    for number in range(3):
        fed.put(f"sales/n{number}.csv", sales(line(f"N{number}")))
        fed.build()
    assert sorted(path.name for path in (fed.folder / "state/docs/runs").glob("*/*.html")) != []
    kept = {path.parent.name for path in (fed.folder / "state/docs/runs").glob("*/*.html")}
    assert kept == {"run-2", "run-3"}
    index = (fed.folder / "state/docs/index.html").read_text()
    assert index.index("run-3") < index.index("run-2")
    assert "run-1" not in index


def test_the_index_shows_a_failed_run_first_and_why(fed: Place) -> None:
    fed.build()
    own(fed, "sales_team_data_mart", rule("expect_table_row_count_to_equal", value=7))
    fed.put("sales/b.csv", sales(line("B1")))
    fed.build()
    index = (fed.folder / "state/docs/index.html").read_text()
    assert index.index("run-2") < index.index("run-1")
    assert "a critical expectation is broken: the number of rows is 7" in index


def test_what_is_measured_is_kept_and_a_rule_that_drifts_is_reported(fed: Place) -> None:
    def day(number: int, bad: int) -> str:
        rows = [line(f"D{number}-{n}", product="x" * 900) for n in range(400 - bad)]
        return sales(*rows, *(line(f"D{number}-b{n}", total="1") for n in range(bad)))

    for number in range(6):
        fed.put(f"sales/day-{number}.csv", day(number, 0))
    assert not [warning for warning in fed.build().warnings if "usual" in warning]
    fed.put("sales/day-6.csv", day(6, 7))
    report = fed.build()
    (warning,) = (warning for warning in report.warnings if "total_cost" in warning)
    assert warning.startswith("broken more often than usual: total_cost is price * quantity")
    assert "sales/day-6.csv (7 rows)" in warning
    warehouse = fed.warehouse()
    kept = {record.rule_id: record for record in warehouse.quality(100) if record.object_key == "sales/day-6.csv"}
    warehouse.close()
    assert (kept[ROWS].row_count, kept[ROWS].unexpected) == (400, 7)
    assert [record.unexpected for record in kept.values() if record.unexpected] == [7, 7]
    trends = (fed.folder / "state/docs/trends.html").read_text()
    assert "more than usual" in trends
    assert "<td>rows that break: total_cost is price * quantity" in trends
    assert "<td>rows in quarantine" in trends


def test_a_drop_with_half_of_the_usual_rows_is_reported(fed: Place) -> None:
    for number in range(6):
        fed.put(f"sales/day-{number}.csv", sales(*(line(f"D{number}-{n}") for n in range(100))))
    fed.build()
    fed.put("sales/day-6.csv", sales(line("D6")))
    assert "fewer than half of the usual rows: sales/day-6.csv (1)" in fed.build().warnings


def test_pages_may_be_somewhere_else(fed: Place) -> None:
    fed.settings["docs"] = str(fed.folder / "site")
    report = fed.build()
    assert report.docs == str(fed.folder / "site")
    assert (fed.folder / "site" / judged(report)["sales"].page).is_file()
    assert not (fed.folder / "state/docs").exists()


def test_a_dimension_with_a_key_twice_is_on_its_page(fed: Place) -> None:
    fed.put("customers/twice.csv", CUSTOMERS + "1,Asha,Rao,,,,\n")
    report = fed.build()
    assert report.error
    assert (report.exit_code, report.error.what) == (65, "duplicate customer_id: 1 (lines 2, 8 of customers/twice.csv)")
    (broken,) = judged(report)["customers"].broken
    assert (broken.rule, broken.severity, broken.unexpected) == ("customer_id is unique", "critical", 2)
    assert "duplicate customer_id" in (fed.folder / "state/docs/index.html").read_text()


def test_lines_after_as_of_are_reported(fed: Place) -> None:
    fed.put("sales/b.csv", sales(line("B1", day="2024-04-01"), line("B2", day="2024-06-30")))
    assert "2 lines are dated after as_of and left out" in fed.build().warnings


def test_a_query_that_is_wrong_is_the_user_s_error(fed: Place) -> None:
    query = "SELECT nothing FROM {batch}"
    own(fed, "customers_data_mart", rule("unexpected_rows_expectation", unexpected_rows_query=query))
    report = fed.build()
    assert report.error
    assert report.exit_code == 2
    assert report.error.what.startswith("the query fails: ")
    assert "nothing" in report.error.what


def test_a_number_of_the_policy_may_stand_anywhere_in_a_rule(fed: Place) -> None:
    tolerance = {"$PARAMETER": "total_cost_tolerance"}
    cheap = {"type": "comparison", "column": {"name": "price"}, "operator": ">", "parameter": tolerance}
    own(
        fed,
        "sales",
        rule("expect_column_values_to_not_be_in_set", "warning", column="price", value_set=[tolerance, 10]),
        rule("expect_column_values_to_not_be_null", "warning", column="currency", row_condition=cheap),
    )
    result = judged(fed.build(policy=Policy(total_cost_tolerance="0.01")))["sales"]  # type: ignore[arg-type]
    assert [(broken.rows, broken.unexpected) for broken in result.broken] == [(100, 100), (100, 100)]
