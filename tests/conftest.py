"""Fixtures: a place to work in, and real servers, each on loopback with its own data folder."""

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.kit import Once, Place
from support.retail import LEAVE_OUT

from jobs.runtime import scrub

pytest_plugins = ["support.servers", "support.post"]

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# One token for all clusters of all test processes: a process reads it once, when it first uses Ray.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests see no MARTS_… variable and no marts.toml of whoever runs them."""
    for name in [name for name in os.environ if name.startswith(("MARTS_", "MARTWRIGHT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MARTS_LOG__FORMAT", "text")  # what people read; tests of JSON set json
    monkeypatch.setenv("MARTS_ANALYTICS", "false")  # most tests need two marts only; tests of analytics set true
    monkeypatch.setenv("MARTS_LEAVE_OUT", LEAVE_OUT)
    monkeypatch.setattr(scrub, "_known", set())
    scrub._pattern.cache_clear()
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Report a figure that a test measured; all of them are printed at the end."""
    return lambda text: request.node.user_properties.append(("figure", text))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    figures = [
        f"{report.nodeid.removeprefix('tests/')}: {text}"
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, text in getattr(report, "user_properties", ())
        if name == "figure"
    ]
    if figures:
        terminalreporter.section("figures")
    for text in dict.fromkeys(figures):
        terminalreporter.write_line(text)


@pytest.fixture
def all_marts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let builds compute the marts of days, months and stores, too."""
    monkeypatch.delenv("MARTS_LEAVE_OUT")


@pytest.fixture
def small_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands build at once, without a cluster, unjudged."""
    monkeypatch.setenv("MARTS_LIMITS__SETTLE_SECONDS", "0")
    monkeypatch.setenv("MARTS_RAY__FEW_TASKS", "1000")
    monkeypatch.setenv("MARTS_QUALITY__JUDGE", "false")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Once]:
    """Fill a place by a function, which runs once for all tests of a module: they get copies of what it filled.

    The settings of these tests must be the same, and none may write into a drop. A target on a server is filled anew
    for each.
    """
    filled: dict[Callable[[Place], Any], Place] = {}
    drops: dict[Path, float] = {}

    def fill(function: Callable[[Place], Any], place: Place) -> None:
        if not place.address.startswith("duckdb:"):
            function(place)
            return
        if function not in filled:
            new_place = Place(tmp_path_factory.mktemp("once"))
            function(new_place)
            filled[function] = new_place
            drops.update({path: path.stat().st_ctime for path in new_place.source.rglob("*")})
        place.like(filled[function])

    yield fill
    assert {path: path.stat().st_ctime for path in drops} == drops, "a test has changed what all tests have"


@pytest.fixture
def dimensions(place: Place) -> None:
    """Deliver customers, stores and the sales team first."""
    place.put_dimensions()
