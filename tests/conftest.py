"""Fixtures: a place to work in, and real servers, each on loopback with its own data folder."""

import os
from pathlib import Path

import pytest
from kit import Place

pytest_plugins = ["servers"]

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests see no MARTS_… variable and no marts.toml of whoever runs them."""
    for name in [name for name in os.environ if name.startswith("MARTS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)
