"""Each run leaves a page with the figures of its marts, and `marts report` finds, copies and opens it."""

import json
import re
import webbrowser
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from support.browsing import chromium, requests
from support.kit import Place, golden, line, marts, sales
from support.servers import S3Server

from marts.errors import UsageError


@pytest.fixture
def built(place: Place) -> Place:
    """A place with a good run, and one that failed."""
    place.judge = True
    place.put_golden()
    assert place.run().outcome == "published"
    place.put("sales/strangers.csv", sales(*(line(f"S{n}", customer=900 + n) for n in range(9))))
    assert place.run().exit_code == 65
    return place


def page_text(page: Path) -> str:
    """Read a page as a browser does that has no network; it must not complain about anything."""
    with contextmanager(chromium)("--host-resolver-rules=MAP * ~NOTFOUND") as browser:
        requests(browser)
        browser.get(page.as_uri())
        for details in browser.find_elements(By.TAG_NAME, "details"):
            browser.execute_script("arguments[0].open = true", details)
        text = str(browser.find_element(By.TAG_NAME, "body").text)
        assert browser.get_log("browser") == []
        assert all(url.startswith(("file:", "data:")) for url in requests(browser))
    return text


def test_the_page_of_a_good_run_shows_what_a_business_looks_for(built: Place) -> None:
    text = page_text(built.folder / "state/reports/run-1.html")
    customers, team = golden("customers"), golden("sales_team")
    last = max(row["sales_month"] for row in team)
    months = {row["sales_month"] for row in team}
    revenue = {m: sum(Decimal(r["total_sales"]) for r in team if r["sales_month"] == m) for m in months}  # with guests
    for amount in revenue.values():
        assert f"{amount:,.2f}" in text
    leaders = [row for row in team if row["sales_month"] == last and row["top_performance_rank"] == "1"]
    assert leaders
    for row in leaders:
        assert f"{Decimal(row['total_sales']):,.2f}" in text
        assert f"{Decimal(row['incentive']):,.2f}" in text
    best = max(customers, key=lambda row: Decimal(row["customer_lifetime_value"]))
    assert best["full_name"] in text
    assert f"{Decimal(best['customer_lifetime_value']):,.2f}" in text
    for segment in {row["customer_segment"] for row in customers}:
        assert segment in text
    assert re.search(r"25\s+rows read\s+=\s+24\s+clean", text)
    for heading in ("Drops", "Data quality", "Seconds per step", "Revenue by month", "Customers by segment"):
        assert heading in text


def test_the_index_the_page_and_the_report_show_the_same_duration(place: Place) -> None:
    place.judge = True
    place.put_golden()
    moments = count()
    done = place.run(clock=lambda: datetime(2024, 4, 1, tzinfo=UTC) + timedelta(seconds=7.3 * next(moments)))
    took = f"{(done.ended_at - done.started_at).total_seconds():,.1f} s"
    for page in ("index.html", f"{done.run_id}.html"):
        assert took in (place.folder / "state/reports" / page).read_text()
    assert marts("report", "--target", place.address, "--json").stdout == done.model_dump_json(indent=2) + "\n"


def test_the_page_of_a_failed_run_shows_why_and_what_to_do(built: Place) -> None:
    text = page_text(built.folder / "state/reports/run-2.html")
    assert "have no row in customers" in text
    assert "raise max_unknown_ratio" in text
    assert "The live marts are untouched" in text
    assert "Revenue by month" not in text
    index = page_text(built.folder / "state/reports/index.html")
    assert "run-1" in index
    assert "run-2" in index


def test_the_command_finds_the_last_run_or_the_one_that_is_named(built: Place) -> None:
    reports = built.folder / "state/reports"
    assert marts("report", *built.flags).stdout.strip() == str(reports / "run-2.html")
    assert marts("report", "run-1", *built.flags).stdout.strip() == str(reports / "run-1.html")
    summary = json.loads(marts("report", "1", *built.flags, "--json").stdout)
    assert (summary["run_id"], summary["newest"]["sales"]) == ("run-1", "2024-03-31")
    with pytest.raises(UsageError, match="no report of this run"):
        raise marts("report", "run-7", *built.flags, code=2).exception or AssertionError


def test_the_command_writes_a_copy_and_opens_it(built: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    copy = tmp_path / "copy.html"
    assert marts("report", "run-1", *built.flags, "--to", str(copy), "--open").stdout.strip() == str(copy)
    assert opened == [copy.as_uri()]
    assert "Revenue by month" in copy.read_text()
    marts("report", "run-1", *built.flags, "--open")
    assert opened[1] == (built.folder / "state/reports/run-1.html").as_uri()


def test_pages_in_s3_are_there_too_and_a_browser_gets_a_copy(
    place: Place, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_server.make_bucket("pages")
    place.put_golden()
    place.settings = {"reports": "s3://pages/reports", "s3": s3_server.settings}
    assert place.run().outcome == "published"
    kept = s3_server.client().list_objects_v2(Bucket="pages")["Contents"]
    assert [entry["Key"] for entry in kept] == ["reports/index.html", "reports/run-1.html"]
    for name, value in {**s3_server.environment, "MARTS_REPORTS": "s3://pages/reports"}.items():
        monkeypatch.setenv(name, value)
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert marts("report", *place.flags).stdout.strip() == "s3://pages/reports/run-1.html"
    marts("report", *place.flags, "--open")
    (address,) = opened
    assert "Revenue by month" in Path(address.removeprefix("file://")).read_text()


def test_reports_that_cannot_be_written_fail_nothing(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    place.settings = {"reports": str(tmp_path / "file/reports")}
    place.put_golden()
    assert place.run().outcome == "published"
    assert "cannot write the report page" in caplog.text
    assert "marts report" in caplog.text


def test_an_erased_customer_is_gone_from_reports_and_pages(built: Place) -> None:
    page = built.folder / "state/reports/run-1.html"
    assert "Asha Rao" in page.read_text()
    marts("erase", "customer", "1", "--why", "request", "--yes", *built.flags)
    assert "Asha Rao" not in page.read_text()
    assert "(erased)" in page.read_text()
    assert "Asha" not in marts("report", "run-1", *built.flags, "--json").stdout
