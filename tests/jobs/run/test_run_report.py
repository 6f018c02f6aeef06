"""The run report in a real browser: from a file, without network or script, on a phone, at night and on paper."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from selenium.webdriver.common.by import By
from support.browsing import barriers, chromium, contrast, requests, seen_as
from support.highlights import groups, highlights, top
from support.highlights import months as of_months
from support.kit import Place, line, sales

from jobs.adapters.store.folder import Folder
from jobs.report.highlights import ReportedHighlight
from jobs.report.run_pages import write_reports
from jobs.report.run_report import Problem, RunReport
from marts.compute.unusual import UnusualMonth

ATTACK = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"
LONG = "Wolfeschlegelsteinhausenbergerdorff" * 2
PAGES = ("index.html", "run-1.html", "run-2.html")
TEXTS = """
    const shown = [...document.querySelectorAll('body *')].filter(element => element.checkVisibility()
        && [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
    return shown.map(element => [element.outerHTML.slice(0, 90),
        getComputedStyle(element)[element instanceof SVGElement ? 'fill' : 'color']]);
"""


def all_highlights() -> tuple[ReportedHighlight, ...]:
    """Return highlights of a business with 30 months, 40 stores, and names that are long or hostile."""
    months = [f"{2022 + n // 12}-{n % 12 + 1:02}" for n in range(30)]
    people = [ATTACK, LONG, "Zoë Quist", "Ann Lee"]
    revenue, *others = highlights(
        of_months((month, f"{4 * 10**6 + n}", 9) for n, month in enumerate(months)),
        groups((name, away, 12345, "12345678.90") for name in (ATTACK, LONG[:64], "Loyal") for away in (False, True)),
        top("top_customers", [best(n, name) for n, name in enumerate(people)]),
        top("leaders", [leader(n, people[n % 4]) for n in range(40)]),
    )
    odd = UnusualMonth(month="2023-11", total=Decimal(4000022), usual=Decimal("1234.56"))
    return (revenue.model_copy(update={"unusual": (odd,)}), *others)


def best(number: int, name: str) -> dict[str, Any]:
    return {
        "customer_id": number,
        "full_name": name,
        "customer_lifetime_value": Decimal("12345678.90"),
        "purchase_frequency": 10,
        "last_purchase_month": "2024-06",
        "customer_segment": LONG[:64],
    }


def leader(number: int, name: str) -> dict[str, Any]:
    return {
        "store_id": 100 + number,
        "sales_person_id": number,
        "sales_month": "2024-06",
        "full_name": name,
        "total_sales": Decimal("12345.67"),
        "incentive": Decimal("123.45"),
        "sales_growth_rate": Decimal("-12.34"),
        "sales_contribution_percentage": Decimal("99.99"),
    }


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = Place(tmp_path_factory.mktemp("site"), judge=True)
    place.put_dimensions()
    place.put("sales/<b>a.csv", sales(*(line(f"A{n}") for n in range(99)), line("A99", total=ATTACK)))
    place.put("sales/held.csv", sales(line("H1"), line("H2", total=ATTACK)))
    built = place.build()
    many = {"highlights": all_highlights(), "as_of": "2024-06-15", "warnings": (LONG, ATTACK)}
    done = RunReport.model_validate(built.model_copy(update=many).model_dump(context={"names": True}))
    error = Problem(what=f"{LONG} is not there", where=f"/srv/{LONG}", hint="put it there")
    failed = {"run_id": "run-2", "outcome": "failed", "error": error, "marts": (), "highlights": ()}
    store = Folder(str(place.folder / "state/reports"))
    write_reports(store, done, [done])
    last = done.model_copy(update=failed)
    write_reports(store, last, [last, done])
    return place.folder / "state/reports"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from chromium("host-resolver-rules=MAP * ~NOTFOUND", "proxy-server=127.0.0.1:9")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_from_a_file_asks_for_nothing_and_runs_nothing(browser: Any, reports: Path, page: str) -> None:
    browser.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    requests(browser)
    browser.get((reports / page).as_uri())
    assert requests(browser) == [(reports / page).as_uri()]
    assert browser.get_log("browser") == []
    assert browser.find_elements(By.CSS_SELECTOR, "script, img, iframe, link, object, form") == []
    assert browser.title != "owned"


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_its_screen_with_all_its_tables_open(browser: Any, reports: Path, page: str, width: int) -> None:
    with seen_as(browser, width):
        browser.get((reports / page).as_uri())
        browser.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("scheme", "media"), [("light", ""), ("dark", ""), ("dark", "print")])
@pytest.mark.parametrize("page", PAGES)
def test_all_text_can_be_read(browser: Any, reports: Path, page: str, scheme: str, media: str) -> None:
    with seen_as(browser, scheme=scheme, media=media):
        browser.get((reports / page).as_uri())
        paper = browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
        texts = browser.execute_script(TEXTS)
        assert len(texts) > 10
        assert [(text, ink) for text, ink in texts if contrast(ink, paper) < 4.5] == []
        assert (luminance_of(paper) < 0.1) == (scheme == "dark" and not media)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_bars_stand_out_from_the_page_in_both_schemes(browser: Any, reports: Path, scheme: str) -> None:
    with seen_as(browser, scheme=scheme):
        browser.get((reports / "run-1.html").as_uri())
        paper = browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
        bars = browser.find_elements(By.CSS_SELECTOR, ".wide path[fill='var(--bar)']")
        assert len(bars) == 29
        assert contrast(bars[0].value_of_css_property("fill"), paper) >= 3


def test_a_phone_sees_the_narrow_chart_and_a_screen_the_wide_one(browser: Any, reports: Path) -> None:
    for width, seen in ((400, "narrow"), (1280, "wide")):
        with seen_as(browser, width):
            browser.get((reports / "run-1.html").as_uri())
            charts = browser.find_elements(By.CSS_SELECTOR, ".wide .chart, .narrow .chart")
            visible = [chart for chart in charts if chart.is_displayed()]
            assert len(visible) == 1
            assert visible[0].find_element(By.XPATH, "..").get_attribute("class") == seen
            size = browser.execute_script(
                "return arguments[0].querySelector('text').getBoundingClientRect()", visible[0]
            )
            assert size["height"] >= 11


@pytest.mark.parametrize("page", PAGES)
def test_each_link_leads_to_a_page_that_is_there(browser: Any, reports: Path, page: str) -> None:
    browser.get((reports / page).as_uri())
    links = {anchor.get_attribute("href") for anchor in browser.find_elements(By.TAG_NAME, "a")}
    files = {Path(unquote(urlsplit(link).path)) for link in links}
    assert len(files) >= 3
    assert [file for file in files if not file.is_file()] == []
    anchors = {urlsplit(link).fragment for link in links} - {""}
    assert [name for name in anchors if not browser.find_elements(By.ID, name)] == []


@pytest.mark.parametrize("media", ["screen", "print"])
def test_what_is_folded_up_is_on_paper(browser: Any, reports: Path, media: str) -> None:
    with seen_as(browser, 700, media=media):
        browser.get((reports / "run-1.html").as_uri())
        months = browser.find_element(By.XPATH, "//details[.//th[starts-with(text(), '2022-01')]]")
        assert (months.rect["height"] > 30 * 15) == (media == "print")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 700


def test_tables_and_charts_are_described_to_screen_readers(browser: Any, reports: Path) -> None:
    browser.get((reports / "run-1.html").as_uri())
    assert len(browser.find_elements(By.TAG_NAME, "h1")) == 1
    tables = browser.find_elements(By.TAG_NAME, "table")
    assert len(tables) >= 7
    for table in tables:
        assert table.find_elements(By.TAG_NAME, "caption")
        assert table.find_elements(By.CSS_SELECTOR, "th:not([scope])") == []
    for chart in browser.find_elements(By.CSS_SELECTOR, "svg"):
        assert chart.get_attribute("role") == "img"
        assert chart.get_attribute("aria-label").startswith("Bars: ")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_nobody_is_kept_out(browser: Any, reports: Path, width: int, scheme: str) -> None:
    with seen_as(browser, width, scheme):
        for page in PAGES:
            browser.get((reports / page).as_uri())
            assert barriers(browser) == [], page


def test_hostile_names_are_read_as_they_are_written(browser: Any, reports: Path) -> None:
    browser.get((reports / "run-1.html").as_uri())
    read = browser.find_element(By.TAG_NAME, "main").text
    assert read.count(ATTACK) >= 12
    assert "held sales/held.csv\n1 of 2 rows are bad" in read


def luminance_of(colour: str) -> float:
    return 1.05 / contrast(colour, "rgb(255, 255, 255)") - 0.05
