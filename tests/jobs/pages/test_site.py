"""What each address answers, without a server: pages, files, readiness, another publication."""

import csv
import html
import io
import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.dashboards import BOARD, HEADER, LAST, cells_by_hand, company
from support.kit import CUSTOMERS, Place, line, marts, sales
from support.served import Served
from support.servers import SqlServer

from jobs.adapters.warehouse.duckdb import DuckDBWarehouse
from jobs.pages.site import Site
from jobs.pages.written import WrittenPages
from jobs.ports.warehouse import Warehouse
from marts.errors import Busy

pytestmark = pytest.mark.usefixtures("all_marts")
HOSTILE = "<script>alert(1)</script>&\"'=1+1"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The company, built once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARTS_ANALYTICS", "false")
        patch.delenv("MARTS_LEAVE_OUT", raising=False)
        place = company(tmp_path_factory.mktemp("company"))
        assert place.build().error is None
    return place


@pytest.fixture
def served(built: Place, tmp_path: Path) -> Iterator[Served]:
    """Pages of a copy of it, which a test may build on."""
    folder = tmp_path / "copy"
    shutil.copytree(built.folder, folder)  # with the times of its files
    served = Served(replace(built, folder=folder))
    served.live.look()
    yield served
    served.live.end()


def test_pages_json_and_csv_say_the_same(served: Served) -> None:
    query = "?region=North&compare=year"
    content = json.loads(served.text(f"/retail.json{query}"))
    page = served.text(f"/retail{query}")
    rows = list(csv.DictReader(io.StringIO(served.text(f"/retail.csv{query}"))))
    totals = {row["figure"]: row["value"] for row in rows if row["part"] == "total"}
    for card in content["cards"]:
        displayed = card["value"] or card["why_not"]
        assert totals[card["label"]] == displayed
        if card["value"]:
            assert f"{float(displayed):,.2f}" in page or f"{int(float(displayed)):,}" in page
    assert content["chosen"] == {"region": ["North"]}
    assert content["as_of"] == "2024-03-31"


def test_a_browser_that_draws_gets_the_same_page_without_drawings(served: Served) -> None:
    whole, part = (served.text(f"{path}?channel=card") for path in ("/retail", "/retail/part"))
    drawings = re.compile(r"<figure.*?</figure>", re.DOTALL)
    assert drawings.search(whole)
    assert '<svg class="chart"' not in part
    assert drawings.sub("", whole) == part


def test_rows_behind_figures_are_the_cells_whole_and_by_pages(served: Served) -> None:
    cells = cells_by_hand(served.place)
    own = [cell for cell in cells if cell.values["region"] == "North" and cell.day >= date(2024, 1, 1)]
    rows = list(csv.DictReader(io.StringIO(served.text("/retail/rows.csv?region=North"))))
    assert len(rows) == len(own)
    assert sum(round(float(row["total_sales"]) * 100) for row in rows) == sum(c.sums["total_sales"] for c in own)
    first = served.text("/retail/rows?region=North")
    assert '<a href="/retail/drops?from=2024-01-01&amp;to=2024-03-31">The drops behind them</a>' in first
    assert f"1 to {min(100, len(own))} of {len(own)}" in first
    assert ("Later rows" in first) == (len(own) > 100)


def test_a_page_says_what_it_is_of_and_what_is_not_in_it(served: Served) -> None:
    page = served.text("/retail")
    assert "as of <strong>2024-03-31</strong>" in page
    assert "run run-1" in page
    assert "sums equal the clean lines" in page
    assert "not in it" not in page
    served.place.put("sales/more.csv", sales(line("Q", quantity=0), line("R", day="2024-03-01")))
    assert served.place.build().exit_code == 65
    served.live.look()
    page = served.text("/retail")
    assert '<a href="#missing">1 held drop</a>' in page
    assert re.search(r"sales/more\.csv</th><td>held</td><td class=\"number\">2</td><td>[^<]+</td>", page)


def test_another_publication_is_shown_with_what_changed(served: Served) -> None:
    before = served.figures()
    name = json.loads(served.text("/live"))["publication"]
    served.place.put("sales/more.csv", sales(line("New", day="2024-03-30", price="1000.00")))
    served.place.build()
    assert served.figures() == before
    served.live.look()
    after = served.figures()
    assert float(after["net_revenue"]) == float(before["net_revenue"]) + 1000
    assert json.loads(served.text("/live"))["publication"] != name
    page = served.text("/retail")
    assert "What changed since the publication before" in page
    assert f"{float(before['net_revenue']):,.2f}" in page
    pinned = served.figures("/retail.json?as_of_run=run-1")
    assert pinned == before
    assert "is not kept" in json.loads(served.text("/retail.json?as_of_run=run-0"))["remarks"][-1]


def test_a_build_that_has_the_file_and_a_lost_file_leave_the_last_publication(served: Served) -> None:
    import duckdb

    figures = served.figures()
    path = served.place.folder / "marts.duckdb"
    with duckdb.connect(str(path)):  # in this process: the file is opened as another configuration
        served.live.look()
    moved = path.with_suffix(".away")
    path.rename(moved)
    served.live.look()
    assert served.figures() == figures
    page = served.text("/retail")
    assert "The target has not answered since 12:00 UTC: the last publication is shown" in page
    served.clock.now += timedelta(minutes=5)
    assert served.get("/readyz").status == 503
    served.live.look()
    assert served.get("/readyz").status == 200  # it shows the last publication, and says since when
    gauges = measured(served)
    assert gauges["martwright_pages_trouble"] == 1
    assert gauges["martwright_pages_looked_timestamp_seconds"] == served.clock.now.timestamp()
    assert gauges["martwright_pages_answered_timestamp_seconds"] == served.clock.now.timestamp() - 300
    assert served.get("/healthz").status == 200
    moved.rename(path)
    served.live.look()
    assert served.get("/readyz").status == 200
    assert measured(served)["martwright_pages_trouble"] == 0
    assert "has not answered" not in served.text("/retail")


def measured(served: Served) -> dict[str, float]:
    """Return the gauges that the pages expose, by name."""
    families = text_string_to_metric_families(served.text("/metrics"))
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_it_is_ready_while_it_looks_for_publications(served: Served) -> None:
    served.clock.now += timedelta(seconds=59)
    assert served.get("/readyz").status == 200
    served.clock.now += timedelta(seconds=1)
    assert served.get("/readyz").body == b"it does not look for publications any more\n"
    served.live.look()
    assert served.get("/readyz").status == 200


def test_metrics_are_of_the_server_and_of_no_figure(served: Served) -> None:
    served.metrics.observe(200, 0.1)
    text = served.text("/metrics")
    assert "process_resident_memory_bytes" in text
    assert 'martwright_pages_request_duration_seconds_count{status="200"} 1.0' in text
    assert measured(served)["martwright_pages_cells"] == len(cells_by_hand(served.place))


def test_a_query_that_takes_too_long_is_ended_and_the_page_says_so(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.pages.cube.LIMIT", 0.2)
    publication = served.live.state.publication
    assert publication
    with pytest.raises(Busy, match=r"took longer than 0\.2 seconds") as error:
        publication.cube._ask("SELECT count(*) FROM range(?) a, range(10000000) b WHERE a.range <> b.range", [10**7])

    def slow(*_: Any) -> None:
        raise error.value

    with monkeypatch.context() as patch:
        patch.setattr(publication.cube, "by_day", slow)
        reply = served.get("/retail")
    assert reply.status == 503
    assert b"Choose fewer days" in reply.body
    assert served.get("/retail").status == 200


def test_a_defect_does_not_end_the_looking_for_publications(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    opener, tries = served.live._open, threading.Semaphore(0)

    def broken() -> Warehouse:
        tries.release()
        raise RuntimeError("a defect")

    served.live._open = broken
    served.live.watch(0.01)
    assert all(tries.acquire(timeout=10) for _ in range(2))
    assert "looking for another publication failed" in caplog.text
    served.clock.now += timedelta(seconds=60)
    assert served.get("/readyz").status == 503
    served.live._open = opener
    end = time.monotonic() + 20
    while served.get("/readyz").status != 200:
        assert time.monotonic() < end
        time.sleep(0.05)
    served.live.end()
    assert not any(thread.is_alive() for thread in served.live._threads)


def test_nothing_to_show_yet_is_a_page_that_says_so(tmp_path: Any) -> None:
    served = Served(Place(tmp_path))
    served.live.look()
    reply = served.get("/retail")
    assert reply.status == 503
    assert "There is nothing to show yet" in reply.body.decode()
    assert (served.get("/readyz").status, served.get("/retail.json").status) == (503, 503)


def test_names_of_others_are_text_on_pages_and_no_formula_in_files(tmp_path: Any) -> None:
    place = company(tmp_path)
    quoted = HOSTILE.replace('"', '""')
    place.put("stores/stores.csv", f'id,name,city,state,region\n121,"{quoted}","{quoted}",=1+1,@x\n')
    assert place.build(as_of=LAST).error is None
    served = Served(place)
    served.live.look()
    for address in ("/retail", "/retail/rows", "/retail?region=%40x", "/retail?store=121"):
        page = served.text(address)
        assert "<script>" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    place.put("stores/stores.csv", f'id,name,city,state,region\n121,"{quoted}2","{quoted}",=1+1,@x\n')
    place.build(as_of=LAST)
    served.live.look()
    served.live.compare()
    page = served.text("/retail/changes")
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    rows = list(csv.reader(io.StringIO(served.text("/retail/rows.csv"))))
    assert {row[1] for row in rows} >= {"'@x"}
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "@"))]


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/nothing", 404),
        ("/retail/../etc/passwd", 404),
        (f"/retail?region={'x' * 5000}", 414),
        ("/retail?" + "&".join(f"a{n}=1" for n in range(300)), 400),
        ("/", 302),
        ("/figures", 200),
        ("/retail?from=%00&to=%ff&region=%F0%9F%98%80", 200),
        ("/retail/rows?start=99999999", 200),
        ("/retail/rows?start=-1", 200),
    ],
)
def test_addresses_of_any_kind_are_answered(served: Served, address: str, status: int) -> None:
    reply = served.get(address)
    assert reply.status == status
    assert b"Traceback" not in reply.body


def test_each_figure_has_its_definition(served: Served) -> None:
    page = served.text("/figures")
    for figure in BOARD.figures.values():
        assert figure.label in page
        assert figure.help in page.replace("&#39;", "'")
    assert "daily_sales_data_mart" in page


def changed(served: Served) -> None:
    """Publish a late drop, and another table of customers."""
    people = CUSTOMERS.replace("Asha,Rao", "Aisha,Raoo").replace("Lake Road", "Lake Street")
    served.place.put("customers/customers.csv", people)
    served.place.put("sales/late.csv", sales(line("L1", 2, day="2024-01-20", price="30.00")))
    assert served.place.build(as_of=LAST).error is None
    served.live.look()
    served.live.compare()


def test_the_rows_that_the_last_publication_changed_are_listed(served: Served) -> None:
    assert "The publications are being compared." in served.text("/retail/changes")
    assert served.get("/retail/changes.csv").status == 503
    served.live.compare()
    assert "There is only one publication, so nothing to compare it with." in served.text("/retail/changes")
    changed(served)
    page = served.text("/retail/changes")
    assert re.search(r'sales/late\.csv</th><td>new</td><td class="number">1</td>', page)
    assert "run run-1" in page
    assert "run run-2" in page
    assert '<td class="key">total sales</td><td class="number">' in page
    rows = list(csv.DictReader(io.StringIO(served.text("/retail/changes.csv"))))
    assert {row["mart"] for row in rows} >= {"sales_team", "daily_sales"}
    assert {sum_of(rows, name) for name in ("sales_team", "daily_sales")} == {Decimal("30.00")}
    assert "customers" not in {row["mart"] for row in rows}  # no row of a person is on a page
    assert "<code>marts diff customers</code> shows them" in page
    page = served.text("/retail?from=2024-01-01&to=2024-01-31")
    assert re.findall("Drops between: ([^.]+)[.]", page) == ["1 new, 1 replaced"]
    assert '<a href="/retail/changes">The rows and drops that changed</a>' in page


def sum_of(rows: list[dict[str, str]], mart: str) -> Decimal:
    """Return the difference of the sales of a mart."""
    return sum(Decimal(r["difference"]) for r in rows if (r["mart"], r["column"]) == (mart, "total_sales"))  # type: ignore[return-value]


def test_publications_are_compared_once(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(served)
    monkeypatch.setattr(DuckDBWarehouse, "compare", lambda *_: pytest.fail("it is compared again"))
    before = served.live.changes
    served.live.look()
    served.live.compare()
    assert before.compared
    assert served.live.changes is before
    assert "is being compared" not in served.text("/retail/changes")


@pytest.mark.database
def test_no_answer_is_of_two_publications(tmp_path: Path, mariadb: SqlServer) -> None:
    """While builds publish and are rolled back, and readers ask without a pause."""
    place = company(tmp_path, target=mariadb.make_database("clicked"))
    assert place.build().error is None
    served = Served(place)
    served.live.look()
    choice = "from=2024-01-01&to=2024-03-31&compare=none"
    totals = {"run-1": served.figures(f"/retail.json?{choice}")["net_revenue"]}
    answers, ended = list[tuple[str, str, str]](), threading.Event()

    def read() -> None:
        while not ended.is_set():
            content = json.loads(served.text(f"/retail.json?{choice}"))
            figures = {card["figure"]: card["value"] for card in content["cards"]}
            channels = next(panel for panel in content["panels"] if panel["dimension"] == "channel")
            (line,) = content["panels"][0]["lines"]
            assert sum(map(Decimal, line["values"])) == Decimal(figures["net_revenue"])
            assert sum(Decimal(row["figure"]) for row in channels["rows"]) == Decimal(figures["net_revenue"])
            answers.append((content["run_id"], content["publication"], figures["net_revenue"]))

    selects = "SHOW GLOBAL STATUS LIKE 'Com_select'"
    ((_, before),) = mariadb.run(selects)
    for _ in range(3):
        assert served.live.look().trouble is None
    ((_, after),) = mariadb.run(selects)
    assert int(after) - int(before) == 3  # a look is one query, while nothing is published
    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        served.live.watch(0.01)
        try:
            for number in range(2, 5):
                place.put(f"sales/late{number}.csv", sales(line(f"L{number}", 2, day="2024-02-20", price="7.00")))
                assert place.build(as_of=LAST).outcome == "published"
                totals[f"run-{number}"] = str(Decimal(totals[f"run-{number - 1}"]) + 7)
                until_shown(served, f"run-{number}")
            marts("rollback", "--target", place.address, "--why", "tried")
            until_shown(served, "run-3")
        finally:
            ended.set()
            served.live.end()
        for reader in readers:
            reader.result()
    assert {(run, total) for run, _, total in answers} == set(totals.items())
    assert len({publication for _, publication, _ in answers}) == 4  # that of run 3 is the same again


def until_shown(served: Served, run: str) -> None:
    """Wait until the pages show the publication of a run."""
    end = time.monotonic() + 60
    while json.loads(served.text("/live"))["run_id"] != run:
        assert time.monotonic() < end
        time.sleep(0.02)
    time.sleep(0.2)  # the readers ask


def test_changes_of_an_older_publication_say_so_until_the_new_one_is_compared(served: Served) -> None:
    changed(served)
    served.place.put("sales/later.csv", sales(line("L2", 2, day="2024-01-21", price="7.00")))
    assert served.place.build(as_of=LAST).error is None
    served.live.look()
    page = served.text("/retail/changes")
    assert "A newer publication is being compared" in page
    assert "sales/later.csv" not in page
    served.live.watch(3600)  # it compares without waiting for an hour
    end = time.monotonic() + 60
    while "A newer publication is being compared" in served.text("/retail/changes"):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "sales/later.csv" in served.text("/retail/changes")


def test_nobody_is_on_any_page(served: Served) -> None:
    changed(served)
    names = ("Asha", "Rao", "Ben", "Iyer", "Rahul", "Verma", "Lake Road", "Aisha", "Lake Street", "full_name")
    addresses = ("/retail/changes", "/retail/changes.csv")
    for address in (*addresses, "/retail", "/retail.json", "/retail.csv", "/retail/rows", "/retail/rows.csv"):
        text = served.text(address)
        assert [name for name in names if name in text] == []
    assert not any(name in served.text("/figures") for name in names)


def test_drops_are_listed_with_what_counts_and_the_rules_that_rows_break(tmp_path: Any) -> None:
    place = company(tmp_path)
    good = line("Good", 2, 121, day="2024-03-05", price="7.00")
    bad = line("Bad", 2, 121, day="2024-03-05", quantity=0, total="0.00")
    place.put("sales/second.csv", sales(f"{good},cash", f"{bad},cash", header=HEADER))
    place.judge = True
    assert place.build().error is None
    served = Served(place)
    served.live.look()
    page = served.text("/retail/drops?name=SECOND")
    assert "sales/second.csv" in page
    assert "sales/first.csv" not in page
    assert "1 to 1 of 1" in page
    assert "quantity" in page  # the rule that a row breaks
    (row,) = re.findall(r"<tr><th scope=\"row\">sales/second.csv</th>(.*?)</tr>", page, re.DOTALL)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
    assert cells[0] == "held"
    assert cells[2:7] == ["2", "1", "1", "0", ""]  # none of its rows counts
    assert "No drop matches these filters." in served.text("/retail/drops?name=nothing")
    assert "sales/first.csv" in served.text("/retail/drops?state=live&start=0")


def test_a_drop_that_does_not_count_is_missing_in_figures_of_its_days(tmp_path: Any) -> None:
    place = company(tmp_path)
    good, bad = line("Good", 2, 121, day="2024-03-05"), line("Bad", 2, 121, day="2024-03-09", quantity=0, total="0.00")
    place.put("sales/held.csv", sales(good, bad, bad))
    place.put("sales/some.csv", sales(*[line(f"S{n}", 2, 121, day="2024-02-20") for n in range(60)], bad))
    place.judge = True
    assert place.build().error is None
    served = Served(place)
    served.live.look()
    march, february, within, day = (
        "from=2024-03-01&to=2024-03-31",
        "from=2024-02-01&to=2024-02-29",
        "from=2024-03-07&to=2024-03-09",  # its bad rows, too
        "from=2024-03-10&to=2024-03-12",
    )
    page = served.text(f"/retail?{march}")
    assert '<a href="#missing">1 held drop</a>' in page
    assert page.count('aria-label="1 drop of these days not in it"') == 7  # of each figure: all are of sales
    assert 'id="rules"' not in page  # of drops that count only
    assert '<a href="#missing">1 held drop</a>' in served.text(f"/retail?{within}")
    page = served.text(f"/retail?{february}")
    assert '<a href="#missing">1 row in quarantine</a>' in page
    assert "held.csv" not in page
    (row,) = re.findall(r"<tr><th scope=\"row\">in quarantine, for any reason</th>.*?</tr>", page)
    assert re.findall(r"<td[^>]*>(.*?)</td>", row) == ["sales", "", "1", "61", "1"]
    (row,) = re.findall(r"<tr><th scope=\"row\"><a [^>]*>quantity is not 0.*?</tr>", page)
    assert re.findall(r"<td[^>]*>(.*?)</td>", row) == ["sales", "critical", "1", "61", "1"]
    (link,) = re.findall(r"<a href=\"([^\"]+)\">quantity is not 0", row)
    drops = served.text(html.unescape(link))
    assert "sales/some.csv" in drops
    assert "held.csv" not in drops
    assert 'id="missing"' not in served.text(f"/retail?{day}")
    assert "held.csv" in served.text(f"/retail/drops?{march}")
    assert "held.csv" not in served.text(f"/retail/drops?{day}")
    assert "first.csv" in served.text(f"/retail/drops?{day}")
    assert "held.csv" in served.text(f"/retail/drops?{within}")
    assert "held.csv" in served.text("/retail/drops?from=never")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Pages of a place whose builds have written theirs."""
    place = company(tmp_path_factory.mktemp("written"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARTS_ANALYTICS", "false")
        patch.delenv("MARTS_LEAVE_OUT", raising=False)
        place.judge = True
        assert place.run().error is None
    served = Served(place)
    served.live.look()
    return served


def test_the_pages_of_builds_are_served_as_they_are_and_their_links_lead_somewhere(written: Served) -> None:
    read, wanted = set[str](), ["/runs", "/quality"]
    while wanted:
        address = wanted.pop()
        reply = written.get(address)
        if reply.status == 302:
            wanted.append(reply.headers["Location"])
            continue
        assert reply.status == 200, address
        assert "script" not in reply.headers["Content-Security-Policy"]
        read.add(address)
        links = re.findall(r'href="([^"#:]+)"', reply.body.decode())
        wanted += [path for link in links if (path := urljoin(address, html.unescape(link))) not in read]
    assert {"/reports/index.html", "/reports/run-1.html", "/docs/index.html", "/docs/trends.html"} <= read
    assert "/docs/runs/run-1/sales.html" in read
    assert "Data quality" in written.text("/retail")


@pytest.mark.parametrize(
    "address",
    [
        "/reports/../marts.duckdb",
        "/reports/%2e%2e/marts.duckdb",
        "/reports//etc/passwd",
        "/docs/../reports/index.html",
        "/docs/.hidden.html",
        "/docs/runs/run-1/sales.json",
        "/docs/runs/",
        "/reports/run-2.html",
        "/reports/x\n.html",
    ],
)
def test_no_address_leads_out_of_the_folders_of_pages(written: Served, address: str) -> None:
    assert written.get(address).status == 404


def test_pages_that_name_people_are_served_to_those_who_may_see_them(written: Served) -> None:
    docs = written.site._written._folders["docs"]
    site = Site(written.live, written.clock, 60, None, WrittenPages(None, docs))
    for address in ("/runs", "/reports/index.html", "/reports/run-1.html"):
        assert site.respond(address, "").status == 404
    assert ">Runs<" not in site.respond("/retail", "").body.decode()
    assert site.respond("/docs/index.html", "").status == 200
    assert site.respond("/metrics", "").status == 200


def test_amounts_have_the_currency_that_the_drops_name(served: Served) -> None:
    assert 'class="unit"' not in served.text("/retail")
    assert json.loads(served.text("/retail.json"))["currency"] == ""
    served.place.put(
        "sales/euro.csv", sales(f"{line('Euro', 2, day='2024-01-20')},card,eur", header=f"{HEADER},currency")
    )
    assert served.place.build(as_of=LAST).error is None
    served.live.look()
    page = served.text("/retail")
    assert page.count('<span class="unit">EUR</span>') == 3  # revenue, basket, incentive: not counts and percents
    assert '<th scope="col" class="number">Net revenue, EUR</th>' in page
    assert json.loads(served.text("/retail.json"))["currency"] == "EUR"
    assert "currency,,,EUR,," in served.text("/retail.csv")


def test_events_that_the_policy_names_are_marked(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    publication = served.live.state.publication
    assert publication
    monkeypatch.setattr(publication.cube, "events", (date(2023, 12, 25), date(2024, 2, 20)))
    page = served.text("/retail?from=2024-02-01&to=2024-02-29&region=North")
    assert "Triangles: events that the policy names." in page
    assert '<th scope="row" class="day">2024-02-20 (event)</th>' in page
    assert page.count("(event)") == 1
    assert "Triangles" not in served.text("/retail?from=2024-03-01&to=2024-03-31")
    panels = json.loads(served.text("/retail.json?from=2024-02-01&to=2024-02-29"))["panels"]
    assert panels[0]["events"] == ["2024-02-20"]


def test_a_pinned_publication_says_so_and_stays_pinned(served: Served) -> None:
    changed(served)
    page = served.text("/retail?as_of_run=run-1&region=North")
    assert 'This is an older publication: <a href="/retail?region=North">show the newest</a>.' in page
    assert '<input type="hidden" name="as_of_run" value="run-1">' in page
    for text in ("Last 30 days", "Month", "Year"):
        (link,) = re.findall(f'<a href="([^"]*)">{text}</a>', page)
        assert "as_of_run=run-1" in link
    assert "older publication" not in served.text("/retail")


def test_the_dashed_line_is_in_the_table_and_in_the_csv(served: Served) -> None:
    address = "from=2024-02-01&to=2024-02-29"
    page = served.text(f"/retail?{address}")
    assert '<th scope="col" class="number">Mean of 7 days, compared</th>' in page
    (panel, *_) = json.loads(served.text(f"/retail.json?{address}"))["panels"]
    rows = list(csv.DictReader(io.StringIO(served.text(f"/retail.csv?{address}"))))
    means = [row for row in rows if row["part"] == panel["title"] and row["figure"] == "Net revenue, mean of 7 days"]
    assert [row["before"] for row in means] == panel["compared"]["means"][: len(means)]


@pytest.mark.parametrize(
    ("address", "remark"),
    [
        ("state=nonsense", "No drop has this state: it is ignored."),
        ("from=zzz", "from is not a date: it is ignored."),
        ("foo=1", "The address has a name that is not known: it is ignored."),
        ("from=2024-12-31&to=2023-01-01", "The dates were the wrong way round."),
    ],
)
def test_drops_are_chosen_by_what_an_address_may_say(served: Served, address: str, remark: str) -> None:
    page = served.text(f"/retail/drops?{address}")
    assert remark in page
    assert "sales/first.csv" in page


def test_an_address_with_a_slash_at_its_end_is_the_same(served: Served) -> None:
    for address, wanted in (("/retail/?region=North", "/retail?region=North"), ("/figures/", "/figures")):
        reply = served.get(address)
        assert (reply.status, reply.headers["Location"]) == (302, wanted)
    assert served.get("//elsewhere.example/").status == 404
