"""Addresses of pages relative to each other: run reports and data quality pages share a frame and a navigation."""

from urllib.parse import quote

from jobs.adapters.store.open import open_store
from jobs.config.settings import Settings

DOCS, REPORTS = "../docs", "../reports"
"""Default locations of the folders, relative to each other."""


def docs_of(settings: Settings) -> str:
    """Return the location of the data quality pages, relative to a page of the reports."""
    return open_store(settings.docs_uri, settings.s3).uri if settings.docs or settings.reports else DOCS


def reports_of(settings: Settings) -> str:
    """Return the location of the reports, relative to the first data quality page."""
    return open_store(settings.reports_uri, settings.s3).uri if settings.docs or settings.reports else REPORTS


def places(reports: str, docs: str) -> dict[str, str]:
    """Return the addresses of the pages by name; "" for a folder that a browser cannot open."""
    runs, quality = address(reports), address(docs)
    pages = {"runs": (runs, "index.html"), "quality": (quality, "index.html"), "trends": (quality, "trends.html")}
    return {name: f"{folder}/{page}".removeprefix("./") if folder else "" for name, (folder, page) in pages.items()}


def below(folder: str) -> str:
    """Return a folder relative to the page of a suite, two folders below the first data quality page."""
    return f"../../{folder}" if folder.startswith(".") else folder


def address(folder: str) -> str:
    """Return an address that a browser can open; "" for one that it cannot open, such as s3://."""
    if folder.startswith("/"):
        return f"file://{quote(folder.rstrip('/'))}"
    scheme, colon, _ = folder.partition(":")
    return folder.rstrip("/") if not colon or scheme in ("http", "https", "file") else ""
