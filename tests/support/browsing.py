"""Debian's chromium for tests of pages: nothing of its own goes out, what pages ask for and complain of is kept."""

import importlib.util
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from selenium import webdriver

_QUIET = "no-first-run disable-background-networking disable-component-update disable-sync disable-quic"


def chromium(*arguments: str) -> Iterator[Any]:
    """Open a browser, and close it."""
    options = webdriver.ChromeOptions()
    options.binary_location = next(
        path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))
    )
    for argument in ("headless=new", "no-sandbox", "disable-gpu", *_QUIET.split(), *arguments):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def requests(browser: Any) -> list[str]:
    """Return what was asked for since the last time."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


@contextmanager
def seen_as(browser: Any, width: int = 1280, scheme: str = "light", media: str = "") -> Iterator[None]:
    """Look at pages in a width, a colour scheme, on paper."""
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 800}
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def contrast(ink: str, paper: str) -> float:
    """Return the contrast of two colours (WCAG 2.2, 1.4.3)."""
    light, dark = sorted((luminance(ink), luminance(paper)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@cache
def axe() -> str:
    """Return the source of axe, which finds what people who do not see, or do not point, cannot use."""
    spec = importlib.util.find_spec("axe_playwright_python")
    assert spec, "make test installs axe"
    assert spec.origin
    return Path(spec.origin).with_name("axe.min.js").read_text(encoding="utf-8")


def barriers(browser: Any) -> list[tuple[str, str]]:
    """Return the serious findings of axe on the page at hand: the rule, and the first element."""
    browser.execute_script(axe())
    result = browser.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    serious = [violation for violation in result["violations"] if violation["impact"] in ("serious", "critical")]
    return [(violation["id"], violation["nodes"][0]["html"][:200]) for violation in serious]
