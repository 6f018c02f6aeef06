"""The dashboard in a browser: with a script and without, wide and narrow, light and dark, by keyboard."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select
from support.bank_pages import golden_publication
from support.browsing import barriers, chromium, requests, seen_as
from support.dashboards import company
from support.kit import Place, line, sales
from support.served import Served, serving

from jobs.pages.live import State
from marts.errors import ServiceError

pytestmark = pytest.mark.usefixtures("all_marts")
TIP = "return document.querySelector('#vg-tooltip-element.visible')?.innerText ?? ''"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from chromium()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARTS_ANALYTICS", "false")
        place = company(tmp_path_factory.mktemp("company"))
        assert place.build().error is None
        place.put("sales/late.csv", sales(line("L1", 2, day="2024-01-20", price="30.00")))
        assert place.build().error is None
        served = Served(place)
        served.live.look()
        served.live.compare()
        with serving(served.site.respond) as address:
            yield served, address


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that the page is about to do."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, "the page did not do it"
        time.sleep(0.05)


def value(browser: Any, name: str = "purchases") -> str:
    """Return the value of a card, in one step: the page may swap its elements at any time."""
    path = f"[aria-labelledby=card-{name}] .value"
    return str(browser.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", path))


def choose(browser: Any, name: str, wanted: str) -> None:
    """Choose a value of a filter, and wait until the page shows it."""
    Select(browser.find_element(By.NAME, name)).select_by_value(wanted)
    until(lambda: parse_qs(urlsplit(browser.current_url).query).get(name) == ([wanted] if wanted else None))


def are_drawn(browser: Any) -> bool:
    """Return whether the library has drawn all charts."""
    count = "return document.querySelectorAll(arguments[0]).length"
    drawn = browser.execute_script(count, ".drawn.live > .vega svg")
    return bool(drawn) and drawn == browser.execute_script(count, ".drawn")


def complaints(browser: Any) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_nobody_is_kept_out_and_nothing_is_of_another_host(
    browser: Any, site: tuple[Served, str], width: int, scheme: str
) -> None:
    _, address = site
    with seen_as(browser, width, scheme):
        for page in (
            "/retail",
            "/retail?region=North&channel=card",
            "/retail/rows",
            "/retail/drops",
            "/monthly",
            "/retail/changes",
            "/figures",
            "/nothing",
        ):
            requests(browser)
            complaints(browser)
            browser.get(f"{address}{page}")
            assert barriers(browser) == []
            wide = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
            assert wide <= 0, page
            assert {urlsplit(url).netloc for url in requests(browser) if not url.startswith("data:")} == {
                urlsplit(address).netloc
            }
            assert [text for text in complaints(browser) if "404" not in text] == []  # nor of the policy of the content


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (1280, "dark")])
def test_a_page_with_figures_of_months_keeps_nobody_out(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    served = Served(Place(tmp_path, settings={"pack": "banking"}))
    served.live.state = State(golden_publication(), looked_at=served.clock())
    with serving(served.site.respond) as address, seen_as(browser, width, scheme):
        for page in ("/banking", "/banking?channel=1&from=2024-03-01", "/figures"):
            complaints(browser)
            browser.get(f"{address}{page}")
            assert barriers(browser) == []
            wide = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
            assert wide <= 0, page
            assert complaints(browser) == []


def folded(browser: Any) -> Any:
    """Return what unfolds the filters."""
    return browser.find_element(By.CSS_SELECTOR, "details.fold > summary")


def test_filters_are_folded_on_a_narrow_screen_and_what_is_chosen_is_seen(
    browser: Any, site: tuple[Served, str]
) -> None:
    _, address = site
    with seen_as(browser, 400):
        browser.get(f"{address}/retail?channel=card")
        assert folded(browser).text == "Filters (1)"
        assert not browser.find_element(By.NAME, "region").is_displayed()
        assert "Channel: card" in browser.find_element(By.CSS_SELECTOR, ".chips").text
        folded(browser).click()
        choose(browser, "region", "North")
        until(lambda: folded(browser).text == "Filters (2)")
        assert browser.find_element(By.NAME, "region").is_displayed()


@pytest.mark.parametrize(("width", "size"), [(320, "100%"), (640, "200%")])
def test_small_screens_and_large_letters_need_no_scrolling_to_the_side(
    browser: Any, site: tuple[Served, str], width: int, size: str
) -> None:
    """WCAG 1.4.10 and 1.4.4: 320 pixels, and letters of twice the size."""
    _, address = site
    with seen_as(browser, width):
        for page in (
            "/retail?region=North",
            "/retail/rows",
            "/retail/drops",
            "/retail/changes",
            "/figures",
            "/monthly",
        ):
            browser.get(f"{address}{page}")
            browser.execute_script("document.documentElement.style.fontSize = arguments[0]", size)
            wide = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
            assert wide <= 0, page


def test_each_filter_shows_its_figures_in_place_and_in_the_address(browser: Any, site: tuple[Served, str]) -> None:
    served, address = site
    browser.get(f"{address}/retail")
    every = value(browser)
    steps = (("region", "North"), ("state", "Coast"), ("city", "Northport"), ("store", "121"))
    for name, given in (*steps, ("channel", "card"), ("segment", "")):
        browser.execute_script("window.kept = true")
        options = browser.find_elements(By.CSS_SELECTOR, f"[name={name}] option")
        wanted = given or options[-1].get_attribute("value")
        choose(browser, name, wanted)
        query = urlsplit(browser.current_url).query
        assert not {"from", "to", "compare"} & set(parse_qs(query))  # default values are left out
        purchases = f"{int(served.figures(f'/retail.json?{query}')['purchases'] or 0):,}"
        until(lambda purchases=purchases: value(browser) == purchases)
        assert browser.execute_script("return window.kept")  # no page was loaded
    browser.back()
    until(lambda: "segment" not in browser.current_url)
    browser.forward()
    until(lambda: "segment" in browser.current_url)
    browser.back()
    until(lambda: "segment" not in browser.current_url)
    pasted = browser.current_url
    until(lambda: browser.execute_script("return !document.body.hasAttribute('aria-busy')"))
    displayed = value(browser)
    browser.get("about:blank")
    browser.get(pasted)
    assert value(browser) == displayed != every
    browser.find_element(By.LINK_TEXT, "Clear").click()
    until(lambda: value(browser) == every)


def test_a_choice_that_rules_another_one_out_says_so(browser: Any, site: tuple[Served, str]) -> None:
    _, address = site
    browser.get(f"{address}/retail?city=Northport")
    choose(browser, "region", "South")
    until(lambda: "Northport has no rows in South on these days: taken out." in browser.page_source)
    assert value(browser)


def test_focus_open_details_and_scroll_survive(browser: Any, site: tuple[Served, str]) -> None:
    _, address = site
    with seen_as(browser, 1280):
        browser.get(f"{address}/retail")
        browser.find_element(By.CSS_SELECTOR, "#panel-1 ~ details summary").click()
        browser.execute_script("window.scrollTo(0, 300)")
        select = browser.find_element(By.NAME, "channel")
        browser.execute_script("arguments[0].focus({preventScroll: true})", select)
        before = value(browser)
        choose(browser, "channel", "card")
        until(lambda: value(browser) != before)
        assert browser.execute_script("return document.activeElement.name") == "channel"
        assert browser.find_element(By.CSS_SELECTOR, "#panel-1 ~ details").get_attribute("open")
        assert browser.execute_script("return window.scrollY") == 300


def test_the_library_draws_the_charts_with_values_under_the_pointer(browser: Any, site: tuple[Served, str]) -> None:
    _, address = site
    for width in (400, 1280):
        with seen_as(browser, width):
            complaints(browser)
            browser.get(f"{address}/retail")
            until(lambda: are_drawn(browser))
            assert not browser.find_element(By.CSS_SELECTOR, ".drawn.live figure").is_displayed()
            chart = browser.find_element(By.CSS_SELECTOR, ".vega svg")
            assert chart.size["width"] <= width
            ActionChains(browser).scroll_to_element(chart).move_to_element(chart).perform()
            until(lambda: "Mean of 7 days" in browser.execute_script(TIP))
            assert complaints(browser) == []  # nor of the policy of the content: nothing is evaluated


def test_paper_gets_the_drawings_of_the_server(browser: Any, site: tuple[Served, str]) -> None:
    _, address = site
    browser.get(f"{address}/retail")
    until(lambda: are_drawn(browser))
    with seen_as(browser, 1000, media="print"):
        assert browser.find_element(By.CSS_SELECTOR, ".drawn.live figure.wide").is_displayed()
        assert not browser.find_element(By.CSS_SELECTOR, ".drawn.live .vega").is_displayed()
        assert not browser.find_element(By.CSS_SELECTOR, "form.filters").is_displayed()


def test_charts_follow_a_choice_and_keep_their_place(browser: Any, site: tuple[Served, str]) -> None:
    _, address = site
    with seen_as(browser, 1280):
        complaints(browser)
        browser.get(f"{address}/retail")
        until(lambda: are_drawn(browser))
        kept = browser.find_element(By.CSS_SELECTOR, ".trend .vega svg")
        line = "return [...document.querySelectorAll('.trend .vega path')].map((p) => p.getAttribute('d')).join()"
        before = browser.execute_script(line)
        choose(browser, "channel", "card")
        until(lambda: browser.execute_script(line) != before and are_drawn(browser))
        assert kept.is_displayed()  # the same chart with other numbers
        chosen = browser.execute_script(line)
        assert not browser.find_elements(By.CSS_SELECTOR, "figure")  # the server has not drawn it
        browser.refresh()
        until(lambda: are_drawn(browser))
        assert browser.execute_script(line) == chosen
        assert complaints(browser) == []


def test_paper_gets_the_drawings_of_the_library_where_the_server_has_none(
    browser: Any, site: tuple[Served, str]
) -> None:
    _, address = site
    browser.get(f"{address}/retail")
    until(lambda: are_drawn(browser))
    choose(browser, "channel", "card")
    until(lambda: not browser.find_elements(By.CSS_SELECTOR, "figure") and are_drawn(browser))
    with seen_as(browser, 1000, media="print"):
        drawn = browser.find_elements(By.CSS_SELECTOR, ".drawn > .vega")
        assert all(chart.is_displayed() and 0 < chart.size["width"] <= 1000 for chart in drawn)


def test_the_last_of_two_quick_choices_is_shown(browser: Any, site: tuple[Served, str]) -> None:
    served, address = site
    browser.get(f"{address}/retail")
    browser.execute_script(
        """
        const select = document.querySelector("[name=channel]");
        for (const value of ["card", "cash"]) {
            select.value = value;
            select.dispatchEvent(new Event("change", {bubbles: true}));
        }
        """
    )
    until(lambda: "channel=cash" in browser.current_url)
    wanted = f"{int(served.figures('/retail.json?channel=cash')['purchases']):,}"
    until(lambda: value(browser) == wanted)


def test_a_new_publication_is_shown_in_place(browser: Any, site: tuple[Served, str]) -> None:
    served, address = site
    browser.get(f"{address}/retail?channel=card")
    before = value(browser, "net_revenue")
    row = line("Later", day="2024-03-30", price="5000.00")
    served.place.put("sales/later.csv", sales(f"{row},card", header=f"{_header()}"))
    assert served.place.build().error is None
    served.live.look()
    browser.execute_script("document.dispatchEvent(new Event('visibilitychange'))")
    until(lambda: value(browser, "net_revenue") != before)
    assert "What changed since the publication before" in browser.page_source
    assert "channel=card" in browser.current_url
    assert "New figures" in browser.find_element(By.ID, "status").get_attribute("textContent")


def _header() -> str:
    from support.kit import SALES

    return f"{SALES},payment_mode"


def test_a_target_that_is_lost_leaves_the_figures_and_says_since_when(browser: Any, site: tuple[Served, str]) -> None:
    served, address = site
    browser.get(f"{address}/retail")
    figures, opener = value(browser), served.live._open

    def lost() -> Any:
        raise ServiceError("does not answer", "target")

    served.live._open = lost
    try:
        served.live.look()
        browser.get(f"{address}/retail?channel=card")
        assert "The target has not answered since" in browser.find_element(By.CSS_SELECTOR, ".trouble").text
        assert barriers(browser) == []
        choose(browser, "channel", "")
        until(lambda: value(browser) == figures)
    finally:
        served.live._open = opener
        served.live.look()


def test_the_keyboard_alone_is_enough(browser: Any, site: tuple[Served, str]) -> None:
    _, address = site
    browser.get(f"{address}/retail")
    before = value(browser)
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the figures"
    for _ in range(30):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        if browser.switch_to.active_element.get_attribute("name") == "channel":
            break
    browser.switch_to.active_element.send_keys("card")
    until(lambda: "channel=card" in browser.current_url)
    until(lambda: value(browser) != before)


def test_without_a_script_a_button_shows_the_same(site: tuple[Served, str]) -> None:
    served, address = site
    for plain in chromium("blink-settings=scriptEnabled=false"):
        plain.get(f"{address}/retail")
        Select(plain.find_element(By.NAME, "region")).select_by_value("North")
        plain.find_element(By.CSS_SELECTOR, "form button").click()
        until(lambda plain=plain: "region=North" in plain.current_url)
        assert value(plain) == f"{int(served.figures('/retail.json?region=North')['purchases']):,}"
        assert plain.find_elements(By.CSS_SELECTOR, "figure.wide svg")
        assert not plain.find_element(By.CSS_SELECTOR, "[data-print]").is_displayed()
