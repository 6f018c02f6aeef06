"""The pages that builds write, served as they are: those of runs, and those of data quality."""

import re
from collections.abc import Callable

from jobs.ports.store import Store

REPORTS, DOCS = "reports", "docs"
"""Folders beside each other, whose pages link to each other: their addresses keep that."""
INDEX = "index.html"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What these pages may do: they have their styles in themselves, and no script."""
_PAGE = re.compile(rf"^/({REPORTS}|{DOCS})/((?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*\.html)$")
Opener = Callable[[], Store]


class WrittenPages:
    """Pages in folders of their own, which are opened for each request."""

    def __init__(self, reports: Opener | None, docs: Opener | None) -> None:
        """``reports`` and ``docs`` open the folders; None for one that cannot be reached, or may not be shown."""
        self._folders = {name: opener for name, opener in ((REPORTS, reports), (DOCS, docs)) if opener}

    def has(self, folder: str) -> bool:
        """Return whether pages of a folder are served."""
        return folder in self._folders

    def page(self, path: str) -> bytes | None:
        """Return the page at an address; None if there is none. No address leads out of its folder."""
        match = _PAGE.match(path)
        opener = self._folders.get(match[1]) if match else None
        if match is None or opener is None:
            return None
        return opener().get(match[2])
