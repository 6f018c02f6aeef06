"""The run report and the index as text: nothing but the report is on them, all of it, and it stays text."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from html import unescape
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from rich.console import Console
from support.highlights import groups, highlights, months, top
from support.retail import MARTS

from jobs.adapters.charts import reports as charts
from jobs.adapters.charts.drawing import NARROW, WIDE
from jobs.adapters.store.folder import Folder
from jobs.cli import render
from jobs.report.highlights import Column, ReportedHighlight, without
from jobs.report.places import places
from jobs.report.run_pages import fields_of, index_page, report_page, write_again, write_reports
from jobs.report.run_records import run_record
from jobs.report.run_report import (
    AlertReport,
    BrokenRule,
    DropReport,
    MartReport,
    Problem,
    QualityReport,
    RunReport,
    Totals,
)
from jobs.report.templates import rendered
from jobs.state.manifest import Reason
from marts.compute.unusual import MonthTotal, UnusualMonth

ATTACK = "</title></svg><script>alert(1)</script><img src=x onerror='alert(\"2\")'>\x1b[31m\u202e{{ 7*7 }}"
SEEN = ATTACK.replace("\x1b", r"\x1b").replace("\u202e", r"\u202e")


def a_month(number: int) -> str:
    return f"{2021 + number // 12}-{number % 12 + 1:02}"


MONTHS = tuple(
    MonthTotal(month=a_month(n), total=Decimal(f"{61000 + 137 * n}.{n:02}"), count=7100 + n) for n in range(36)
)
GROUPS = (
    ("Occasional", False, 41234, "51234.05"),
    ("Loyal", False, 31234, "61234.06"),
    ("Loyal", True, 21234, "-71234.07"),
)
BEST = (
    {
        "customer_id": 50123,
        "full_name": "Zoë Quist",
        "customer_lifetime_value": Decimal("91234.08"),
        "purchase_frequency": 1317,
        "last_purchase_month": "2023-11",
        "customer_segment": "Loyal",
    },
    {
        "customer_id": 0,
        "full_name": "(erased)",
        "customer_lifetime_value": Decimal("81234.09"),
        "purchase_frequency": 1318,
        "customer_segment": "Loyal",
    },
)
LEADERS = (
    {
        "store_id": 50121,
        "sales_person_id": 50122,
        "sales_month": "2023-12",
        "full_name": "Ann Lee",
        "total_sales": Decimal("17168.11"),
        "incentive": Decimal("171.68"),
        "sales_growth_rate": Decimal("1165.63"),
        "sales_contribution_percentage": Decimal("21.27"),
    },
    {
        "store_id": 50124,
        "sales_person_id": 50125,
        "sales_month": "2023-12",
        "full_name": " ",
        "total_sales": Decimal("17169.12"),
        "incentive": Decimal("171.69"),
        "sales_growth_rate": Decimal("-12.34"),
    },
)


def of_months(totals: Sequence[MonthTotal], unusual: tuple[UnusualMonth, ...] = ()) -> tuple[ReportedHighlight, ...]:
    """Return all highlights, with these months; which of them are unusual is given."""
    revenue, *others = highlights(
        months((item.month, str(item.total), item.count) for item in totals),
        groups(GROUPS),
        top("top_customers", BEST),
        top("leaders", LEADERS, left_out=1729),
    )
    return (revenue.model_copy(update={"unusual": unusual}), *others)


DECIMALS = {item.name for mart in MARTS.values() for item in mart.columns if item.type in ("money", "rate")}
UNUSUAL = UnusualMonth(month="2023-10", total=MONTHS[33].total, usual=Decimal("44123.44"))
HIGHLIGHTS = of_months(MONTHS, (UNUSUAL,))
DROPS = (
    DropReport(
        kind="sales",
        key="sales/a.csv",
        change="new",
        state="live",
        rows_read=5001,
        clean=4001,
        quarantined=902,
        duplicates=98,
        repeated=98,
        reasons=(Reason(rule="quantity is 0", rows=902, example="0", line=1313, raw="T1,0"),),
    ),
    DropReport(
        kind="sales",
        key="sales/b.csv",
        change="new",
        state="held",
        reason="too many rows are bad",
        rows_read=6001,
        clean=14,
        quarantined=5984,
        duplicates=3,
        replaced=3,
        reasons=(Reason(rule="price is negative", rows=5984, example="-1", line=1414, raw="T2,-1"),),
        columns=("transaction_id", "price"),
    ),
)
REPORT = RunReport(
    run_id="run-1",
    outcome="published",
    exit_code=65,
    as_of="2023-12-30",
    policy="p0",
    version="1.2.3",
    source="drops",
    target="mysql://there/marts",
    state="state",
    started_at=datetime(2024, 1, 1, 6, 30, tzinfo=UTC),
    ended_at=datetime(2024, 1, 1, 7, 30, 1, tzinfo=UTC),
    totals=Totals(
        drops=4321,
        held_rows=6002,
        scanned=4320,
        rows_read=1000003,
        clean=998001,
        quarantined=2001,
        duplicates=1,
        counted=997001,
    ),
    drops=DROPS,
    marts=(
        MartReport(name="customers", table="customers_mart", rows=34497, total=Decimal("12601596.70"), changed=True),
    ),
    quality=(
        QualityReport(
            name="sales",
            outcome="failed",
            drops=1212,
            rows=998877,
            rules=1919,
            broken=(BrokenRule(rule="id is unique", severity="warning", rows=57192, unexpected=3122, observed=""),),
            page="runs/run-1/sales.html",
        ),
    ),
    months_rolled_up=("2023-11", "2023-12"),
    months=36,
    unknown={"customers": 3513, "stores": 0},
    warnings=("something is odd",),
    highlights=HIGHLIGHTS,
    newest={"sales": date(2023, 12, 13)},
    seconds={"scan": 1234.567, "load": 0.001},
)


def text_of(page: str) -> str:
    """Return what people read: without style and tags, with all white space alike."""
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def hostile(value: Any, name: str = "") -> Any:
    """Copy a report with the attack in each field that is free text."""
    if isinstance(value, BaseModel) and not isinstance(value, Column):
        fields = {field: hostile(getattr(value, field), field) for field in type(value).model_fields}
        return value.model_copy(update=fields)
    if isinstance(value, Column):
        return value.model_copy(update={"heading": f"heading: {ATTACK}"})
    if isinstance(value, tuple):
        return tuple(hostile(item, name) for item in value)
    if isinstance(value, dict):
        known = name in ("rows", "details")  # values by columns, which the page looks up
        return {key if known else f"{key} {ATTACK}": hostile(item, key) for key, item in value.items()}
    kept = ("outcome", "change", "state", "as_of", "month", "last_purchase_month", "months_rolled_up", "kind")
    kept += ("personal", "below", *DECIMALS)
    return f"{name}: {ATTACK}" if isinstance(value, str) and name not in kept else value


def numbers(value: Any) -> set[str]:
    """Return all counts, amounts and percentages of a report, as the page writes them."""
    if isinstance(value, BaseModel):
        return set().union(*(numbers(getattr(value, field)) for field in type(value).model_fields))
    if isinstance(value, tuple | dict):
        return set().union(*(numbers(item) for item in (value.values() if isinstance(value, dict) else value)), set())
    if isinstance(value, Decimal):
        return {f"{abs(value):,.2f}"}
    return {f"{value:,}"} if isinstance(value, int) and not isinstance(value, bool) and value else set()


def test_the_same_report_gives_the_same_bytes() -> None:
    assert report_page(REPORT) == report_page(REPORT.model_copy(deep=True))
    assert index_page([REPORT]) == index_page([REPORT])


def test_all_numbers_of_the_report_are_on_the_page() -> None:
    read = text_of(report_page(REPORT))
    ids = {"50,121", "50,122", "50,123", "50,124", "50,125"}
    wanted = numbers(REPORT.model_copy(update={"exit_code": 0})) - ids | {number.replace(",", "") for number in ids}
    assert len(wanted) > 100
    assert {
        number for number in wanted if not re.search(rf"(?<![\d,.]){re.escape(number)}(?!,?\d|\.\d)", read)
    } == set()
    assert "1,234.567" in read
    assert "0.001" in read


def test_rows_read_are_the_sum_of_their_outcomes() -> None:
    sentence = "1,000,003 rows read = 998,001 clean + 2,001 in quarantine + 1 duplicates"
    assert sentence in text_of(report_page(REPORT))
    wrong = REPORT.model_copy(update={"totals": REPORT.totals.model_copy(update={"clean": 5})})
    assert "rows read ≠ 5 clean" in text_of(report_page(wrong))


def test_growth_has_its_sign_and_people_without_a_name_are_distinguished() -> None:
    read = text_of(report_page(REPORT))
    assert "Zoë Quist id 50123, Loyal, last purchase in 2023-11 91,234.08 1,317" in read
    assert "(erased) Loyal 81,234.09" in read
    assert "Was Here" not in read
    assert "Ann Lee id 50122 17,168.11 171.68 +1,165.63 % 21.27 %" in read
    assert "(no name) id 50125 17,169.12 171.69 −12.34 %" in read


def test_hostile_text_stays_text_wherever_it_stands() -> None:
    attacked = hostile(REPORT.model_copy(update={"error": Problem(what="x", where="x", hint="x"), "held_back": "x"}))
    for page in (report_page(attacked, "docs" + ATTACK), index_page([attacked], docs="docs" + ATTACK)):
        assert "<script" not in page.lower()
        assert "<img" not in page
        assert "\x1b" not in page
        assert "\u202e" not in page
        assert "{{ 7*7 }}" in page
    read = text_of(report_page(attacked))
    fields = ("rule", "key", "reason", "warnings", "full_name", "segment", "where", "hint", "raw", "name", "table")
    assert [name for name in fields if f"{name}: {' '.join(SEEN.split())}" not in read] == []


@pytest.mark.parametrize("outcome", ["running", "published", "unchanged", "failed", "unknown"])
@pytest.mark.parametrize("full", [True, False])
def test_every_outcome_renders_with_and_without_figures(outcome: str, full: bool) -> None:
    bare = RunReport.model_validate(
        {name: getattr(REPORT, name) for name, field in RunReport.model_fields.items() if field.is_required()}
    )
    report = (REPORT if full else bare).model_copy(update={"outcome": outcome})
    read = text_of(report_page(report))
    assert outcome in read
    assert ("Revenue by month" in read) == full
    assert ("Seconds per step" in read) == full
    assert ("The live marts are untouched." in read) == (outcome == "failed")
    assert outcome in text_of(index_page([report]))


def test_a_failed_run_reports_what_where_and_what_to_do_and_leaves_out_what_it_has_not() -> None:
    error = Problem(what="the disk\nis full", where="/data", hint="make room")
    failed = REPORT.model_copy(
        update={"outcome": "failed", "error": error, "highlights": (), "newest": {}, "marts": ()}
    )
    page = report_page(failed)
    assert re.search(r"<h1[^>]*>the disk is full</h1>", page)
    read = text_of(page)
    assert "Where: /data What to do: make room The live marts are untouched. Nothing was published." in read
    assert not {"Revenue", "Top customers", "Leaders", "Customers by segment"} & set(re.findall(r"[A-Z][a-z ]+", read))
    assert "held sales/b.csv too many rows are bad" in read


def test_marts_that_were_held_back_report_why() -> None:
    held = REPORT.model_copy(update={"outcome": "unchanged", "held_back": "somebody went back to 2023"})
    assert "New marts were built and held back somebody went back to 2023" in text_of(report_page(held))


@pytest.mark.parametrize(
    ("docs", "link"),
    [
        ("../docs", "../docs/runs/run-1/sales.html"),
        ("https://example.com/docs/", "https://example.com/docs/runs/run-1/sales.html"),
        ("/srv/my docs", "file:///srv/my%20docs/runs/run-1/sales.html"),
        ("s3://bucket/docs", ""),
        ("javascript:alert(1)", ""),
        ("", ""),
    ],
)
def test_a_link_is_one_that_a_browser_can_follow(docs: str, link: str) -> None:
    links = [address for address in re.findall(r'href="([^"#]+)"', report_page(REPORT, docs)) if "sales" in address]
    assert links == ([link] if link else [])


def test_a_month_that_is_not_over_and_one_that_is_unusual_are_marked_by_word_and_shape() -> None:
    page = report_page(REPORT)
    assert ">so far</text>" in page
    assert "2023-12, which is incomplete" in page
    assert page.count(">so far</text>") == 2
    assert "▲ 2023-10 : 65,521.33, usual 44,123.44 (+48.50 %)" in text_of(page)
    over = REPORT.model_copy(update={"as_of": "2023-12-31"})
    assert ">so far</text>" not in report_page(over)


def test_charts_are_of_the_page_s_own_colours_and_lead_nowhere() -> None:
    for svg in (
        charts.months(MONTHS, (UNUSUAL,), "2023-12", WIDE, "Sales"),
        charts.groups([row[:3] for row in GROUPS], ("active", "inactive"), "Customers"),
        charts.groups([("a", None, 3), ("b", None, 2)], (), "Loans"),
        charts.steps(REPORT.seconds),
    ):
        assert set(re.findall(r'(?:fill|stroke)="([^"]*)"', svg)) <= {
            "none",
            *(f"var(--{name})" for name in ("ink", "dim", "line", "bar", "paper")),
        }
        assert not re.search(r"https?:|href|url\(|<script|<style|<image", svg)
        assert re.match(r'<svg class="chart" viewBox="0 0 \d+ \d+" role="img" aria-label="Bars: [^"]+">', svg)


@pytest.mark.parametrize("sales", [["0"], ["-5.00", "3.00"], ["0", "0"], ["99999999999999.99", "1.00"]])
def test_odd_amounts_have_a_chart_too(sales: list[str]) -> None:
    totals = tuple(MonthTotal(month=a_month(n), total=Decimal(amount)) for n, amount in enumerate(sales))
    drawn = charts.months(totals, (), "", NARROW, "Sales")
    assert drawn.count('fill="var(--bar)"') == len(sales)
    assert not re.search(r"NaN|Infinity|undefined|null", drawn)


@pytest.mark.parametrize(("first", "years"), [(9, ["2021", "2022"]), (10, ["2022"]), (11, ["2022"]), (12, ["2022"])])
def test_the_numbers_of_years_never_run_into_each_other(first: int, years: list[str]) -> None:
    totals = tuple(MonthTotal(month=a_month(n), total=Decimal(n)) for n in range(first, first + 12))
    drawn = charts.months(totals, (), "", NARROW, "Sales")
    assert re.findall(r'font-weight="600"[^>]*>(\d{4})<', drawn) == years
    assert ">2021</text>" in charts.months(totals[:1], (), "", NARROW, "Sales") or first == 12


def test_a_chart_of_many_months_shows_the_newest_and_the_page_reports_it() -> None:
    many = tuple(MonthTotal(month=a_month(n), total=Decimal(n)) for n in range(60))
    report = REPORT.model_copy(update={"highlights": of_months(many)})
    read = text_of(report_page(report))
    assert "The last 48 of 60 months." in read
    assert "The last 24 of 60 months." in read


def test_pages_of_runs_that_are_not_listed_go_and_those_that_are_missing_come(tmp_path: Path) -> None:
    def run(name: str, outcome: str = "failed") -> RunReport:
        bare = {"highlights": (), "seconds": {}}
        return REPORT.model_copy(update={"run_id": name, "outcome": outcome, **bare})

    store = Folder(str(tmp_path))
    write_reports(store, run("old"), [run("old")])
    store.put("mine.txt", b"not a page")
    store.put("docs/page.html", b"not ours")
    write_reports(store, run("new"), [run("new"), run("on", "running"), run("killed")])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("docs", "index.html", "killed.html", "mine.txt", "new.html")
    ]
    assert (tmp_path / "docs/page.html").is_file()
    index = (tmp_path / "index.html").read_text()
    nav = ["index.html", "../docs/index.html", "../docs/trends.html"]
    assert re.findall(r'href="([^"]*)"', index) == [*nav, "new.html", "killed.html"]
    assert "run on" in text_of(index)


def test_who_was_erased_from_the_reports_goes_from_their_pages(tmp_path: Path) -> None:
    store = Folder(str(tmp_path))
    write_reports(store, REPORT, [REPORT])
    page = tmp_path / "run-1.html"
    assert "Zoë Quist" in page.read_text()
    changed = REPORT.model_copy(
        update={"highlights": without(HIGHLIGHTS, ("customer_id",), lambda value: value == 50123)}
    )
    write_again(store, [changed, REPORT.model_copy(update={"run_id": "without-a-page"})])
    assert "Zoë Quist" not in page.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "run-1.html"]


def test_many_marts_are_counted_first_and_listed_below() -> None:
    marts = [REPORT.marts[0].model_copy(update={"table": f"table_{n}", "rows": 1000 + n}) for n in range(5)]
    page = report_page(REPORT.model_copy(update={"marts": marts}), "")
    assert "<summary>5 marts have 5,010 rows</summary>" in page
    assert "<li><strong>table_4</strong> has 1,004 rows" in page


def test_an_alert_is_a_table_with_what_to_do() -> None:
    row = {"id": "T<7>", "reasons": "CONFIRMED;NIGHT"}
    headings = {"id": "Transaction", "reasons": "Reasons"}
    alert = AlertReport(name="fraud", title="12 new ones", hint="look", count=12, headings=headings, rows=(row,))
    page = report_page(REPORT.model_copy(update={"alerts": (alert,)}), "")
    assert '<a href="#alert-fraud">Fraud</a>' in page
    assert "<caption>1 of 12</caption>" in page
    assert '<th scope="row">T&lt;7&gt;</th><td class="wide">CONFIRMED; NIGHT</td>' in page
    assert '<tr class="narrow"><td colspan=' in page  # below the row


def test_a_run_id_never_leaves_its_folder(tmp_path: Path) -> None:
    evil = REPORT.model_copy(update={"run_id": "../../up", "highlights": ()})
    write_reports(Folder(str(tmp_path / "reports")), evil, [evil])
    assert [path.name for path in tmp_path.iterdir()] == ["reports"]
    index = (tmp_path / "reports/index.html").read_text()
    assert 'href="..%252F..%252Fup.html"' in index
    assert (tmp_path / "reports/..%2F..%2Fup.html").is_file()


ENDS = [
    ("published", 0, (), "passed", "published"),
    ("unchanged", 0, (), "passed", "unchanged"),
    ("running", 0, (), "warned", "running"),
    ("published", 65, ("held",), "warned", "published, 1 drop held"),
    ("unchanged", 65, ("held", "held", "rejected"), "warned", "unchanged, 2 drops held, 1 drop rejected"),
    ("unchanged", 0, ("rejected",), "warned", "unchanged, 1 drop rejected"),
    ("published", 75, ("deferred",), "warned", "published, 1 drop deferred"),
    ("failed", 65, ("held",), "failed", "failed"),
    ("unknown", 69, (), "failed", "unknown"),
]


def test_an_example_row_names_its_columns_and_marks_those_of_the_rule() -> None:
    page = report_page(REPORT)
    assert text_of(page).count("transaction_id T2 price -1") == 1
    assert re.findall(r'<code class="named">([^<]*)</code>', page) == ["-1"]
    assert '<code class="raw">T1,0</code>' in page  # without a header


@pytest.mark.parametrize(
    ("raw", "columns", "fields"),
    [
        ("a;1", ("name", "price"), [("name", "a", False), ("price", "1", True)]),
        ('"a,b",1', ("name", "price"), [("name", "a,b", False), ("price", "1", True)]),
        ("a,b,1", ("name", "price"), []),
        ("12;1,5;3,7", ("name", "price", "quantity"), []),  # fits with two delimiters
        ("a\rb,c", ("name", "price"), []),
        ('1,"a\nb",x', ("id", "name", "price"), []),
        ('"a,b', ("name", "price"), []),
        ("a,b", (), []),
        ("xxx", ("price",), []),
        ("", (), []),
    ],
)
def test_an_example_row_is_split_only_if_it_fits_the_header(
    raw: str, columns: tuple[str, ...], fields: list[Any]
) -> None:
    reason = Reason(rule="price is negative", rows=1, example="1", line=2, raw=raw)
    assert fields_of(reason, columns) == fields


@pytest.mark.parametrize(("outcome", "code", "states", "level", "words"), ENDS)
def test_a_run_that_leaves_drops_out_reports_them_everywhere_and_has_no_green_tick(
    outcome: str, code: int, states: tuple[str, ...], level: str, words: str
) -> None:
    drops = [DROPS[1].model_dump() | {"state": state, "key": f"sales/{n}.csv"} for n, state in enumerate(states)]
    error = {"what": "it broke", "where": "here", "hint": "mend it"} if level == "failed" else None
    wanted = {"outcome": outcome, "exit_code": code, "drops": drops, "error": error}
    run = RunReport.model_validate(REPORT.model_dump() | wanted)
    assert (run.level, run.words) == (level, words)
    mark = {"passed": "\N{CHECK MARK}", "warned": "!", "failed": "\N{BALLOT X}"}[level]
    assert (
        f'<p class="state"><span class="{level}"><span aria-hidden="true">{mark}</span> {words}</span>'
        in report_page(run)
    )
    assert f'<span class="{level}"><span aria-hidden="true">{mark}</span> {words}</span>' in index_page([run])
    assert f'<span class="{level}">{mark} {words}</span>' in rendered(
        "index.html.j2", places=places(".", "."), here="", runs=[run], links={run.run_id: lambda _: ""}
    )
    console = Console(width=200, file=StringIO())
    console.print(render.report(run))
    console.print(render.status({}, [], {}, [run_record(run)], []))
    output = console.file.getvalue()  # type: ignore[attr-defined]
    if level != "failed":
        assert ("Nothing had to change" in report_page(run)) == (outcome == "unchanged" and not states)
        assert ("The live marts were already up to date" in report_page(run)) == (outcome == "unchanged" and not states)
    if states and not error:
        assert f"! run {run.run_id} {words}: " in output
        assert f"! {words}" in output.partition("last runs")[2]
        assert all(f"{drop['key']} is {drop['state']}" in output for drop in drops)
    else:
        assert "!" not in output


def test_status_shows_a_run_that_was_killed_as_such() -> None:
    running = REPORT.model_copy(update={"outcome": "running", "exit_code": 0, "drops": ()})
    record = replace(run_record(running), outcome="killed", error="it ended unexpectedly")
    console = Console(width=200, file=StringIO())
    console.print(render.status({}, [], {}, [record], []))
    assert "killed" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_share_reports_of_how_many_of_which_rows_it_is() -> None:
    rule = BrokenRule(
        rule="total_cost is right",
        severity="critical",
        rows=288_416,
        basis="rows with both columns",
        unexpected=1569,
        observed="",
    )
    judged = QualityReport(name="sales", outcome="failed", drops=2, rows=500_055, rules=3, broken=(rule,), page="x")
    page = report_page(REPORT.model_copy(update={"quality": (judged,)}))
    assert "1,569 of 288,416 rows with both columns break it" in page


@pytest.mark.parametrize(
    ("unusual", "as_of", "words"),
    [
        ((), "2023-12-31", "21 months compared with the same month a year before: none is unusual."),
        (
            (),
            "2022-04-30",
            "1 month compared with the same month a year before: none is unusual. The others lack",
        ),
        ((), "2022-03-31", "No month can be compared with the same month a year before yet."),
    ],
)
def test_the_page_reports_what_a_month_is_compared_with(
    unusual: tuple[UnusualMonth, ...], as_of: str, words: str
) -> None:
    totals = tuple(month for month in MONTHS if month.month <= as_of[:7])
    page = report_page(REPORT.model_copy(update={"highlights": of_months(totals, unusual), "as_of": as_of}))
    assert words in " ".join(page.split())
