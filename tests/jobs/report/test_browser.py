"""The data quality pages in a real browser: no script, no request to anywhere, hostile values stay text."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from support.browsing import barriers, chromium, contrast, requests, seen_as
from support.kit import CUSTOMERS, Place, line, sales

ATTACK = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"
RUN = "runs/run-1"
PAGES = ("index.html", "trends.html", *(f"{RUN}/{name}.html" for name in ("sales", "customers", "customers_data_mart")))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = Place(tmp_path_factory.mktemp("site"), judge=True)
    place.put_dimensions()
    suite = place.folder / "suites"
    suite.mkdir()
    only = {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "product_name", "value_set": ["tea"]}}
    (suite / "sales.json").write_text(json.dumps({"expectations": [{**only, "severity": "warning"}]}))
    place.settings["expectations"] = str(suite)
    place.put("customers/new.csv", CUSTOMERS + f'7,"{ATTACK}",Quist,,,zoe@example.com,\n')
    place.put("sales/<b>a.csv", sales(*(line(f"A{n}") for n in range(99)), line("A99", product=ATTACK)))
    place.put("sales/held.csv", sales(line("H1"), line("H2", total=ATTACK)))
    place.build()
    return place.folder / "state/docs"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from chromium()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_requests_nothing_runs_nothing_and_logs_no_error(browser: Any, site: Path, page: str) -> None:
    requests(browser)
    browser.get((site / page).as_uri())
    assert requests(browser) == [(site / page).as_uri()]
    assert browser.get_log("browser") == []
    assert browser.find_elements(By.TAG_NAME, "script") == []
    assert browser.title != "owned"


def test_hostile_values_are_read_as_they_are_written(browser: Any, site: Path) -> None:
    browser.get((site / "runs/run-1/sales.html").as_uri())
    assert ATTACK[:60] in browser.find_element(By.TAG_NAME, "main").text
    browser.get((site / "index.html").as_uri())
    assert "held sales/held.csv: 1 of 2 rows are bad" in browser.find_element(By.TAG_NAME, "main").text


def test_the_index_leads_to_each_page_and_back(browser: Any, site: Path) -> None:
    browser.get((site / "index.html").as_uri())
    names = [link.text for link in browser.find_elements(By.CSS_SELECTOR, "th a")]
    assert names[:2] == ["sales", "customers"]
    for name in names:
        browser.find_element(By.LINK_TEXT, name).click()
        assert browser.find_element(By.TAG_NAME, "h1").text == name
        browser.find_element(By.LINK_TEXT, "Data quality").click()
    browser.find_element(By.LINK_TEXT, "Trends").click()
    assert browser.find_element(By.TAG_NAME, "h1").text == "Trends"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_a_phone(browser: Any, site: Path, page: str) -> None:
    metrics = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.get((site / page).as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(browser: Any, site: Path, scheme: str) -> None:
    features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
    browser.get((site / "index.html").as_uri())
    for selector in ("p", ".passed", ".failed", ".warned", "th a", ".dim"):
        element = browser.find_element(By.CSS_SELECTOR, selector)
        ink = element.value_of_css_property("color")
        paper = browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
        assert contrast(ink, paper) >= 4.5, (selector, ink, paper)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_nobody_is_kept_out(browser: Any, site: Path, width: int, scheme: str) -> None:
    with seen_as(browser, width, scheme):
        for page in PAGES:
            browser.get((site / page).as_uri())
            assert barriers(browser) == [], page
