"""Where pages are, seen from each other: run reports and data quality pages have one frame and one navigation."""

from urllib.parse import quote

from jobs.adapters.store.open import open_store
from jobs.config.settings import Settings

DOCS, REPORTS = "../docs", "../reports"
"""Where the folders are, seen from each other, unless settings say otherwise."""


def docs_of(settings: Settings) -> str:
    """Return where the data quality pages are, from a page of the reports."""
    return open_store(settings.docs_uri, settings.s3).uri if settings.docs or settings.reports else DOCS


def reports_of(settings: Settings) -> str:
    """Return where the reports are, from the first data quality page."""
    return open_store(settings.reports_uri, settings.s3).uri if settings.docs or settings.reports else REPORTS


def places(reports: str, docs: str) -> dict[str, str]:
    """Return the addresses of the pages by name; "" for a folder that a browser cannot open."""
    runs, quality = address(reports), address(docs)
    pages = {"runs": (runs, "index.html"), "quality": (quality, "index.html"), "trends": (quality, "trends.html")}
    return {name: f"{folder}/{page}".removeprefix("./") if folder else "" for name, (folder, page) in pages.items()}


def below(folder: str) -> str:
    """Return where a folder is, seen from a page of one suite, two folders below the first data quality page."""
    return f"../../{folder}" if folder.startswith(".") else folder


def address(folder: str) -> str:
    """Return what a browser understands of an address; "" for one that it does not, such as s3://."""
    if folder.startswith("/"):
        return f"file://{quote(folder.rstrip('/'))}"
    scheme, colon, _ = folder.partition(":")
    return folder.rstrip("/") if not colon or scheme in ("http", "https", "file") else ""
