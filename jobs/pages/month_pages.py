"""The pages of the reports of months: which there are, what one says, and its files."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from jobs.pages.html import rendered
from jobs.pages.revisions import JSON, PDF, Written, read, written
from jobs.pages.words import readable
from jobs.ports.store import Store

HERE = "/monthly"
_PAGE = re.compile(rf"^{HERE}/(\d{{4}}-\d{{2}})(?:/(\d{{1,6}}))?(\.pdf|\.json)?$", re.ASCII)
_FILES = {".pdf": PDF, ".json": JSON}
Pages = Sequence[tuple[str, str]]


class MonthPages:
    """Reports in the folder of the reports, which is opened for each request."""

    def __init__(self, reports: Callable[[], Store], pages: Pages) -> None:
        self._open, self._pages = reports, pages

    def months(self) -> str:
        """Render the list of all reports, the newest month first."""
        listed = [
            {"month": item.month, "address": f"{HERE}/{item.month}", "revision": item.revision}
            for item in reversed(written(self._open()))
        ]
        return rendered("months.html.j2", HERE, self._pages, months=listed)

    def asked(self, path: str) -> tuple[Written, str, int] | None:
        """Return the report that an address names, by default the newest, its file, and the newest revision.

        Return None for other addresses.
        """
        match = _PAGE.match(path)
        if match is None:
            return None
        month, revision, end = match.groups()
        newest = next((item.revision for item in written(self._open()) if item.month == month), 0)
        number = int(revision) if revision else newest
        return (Written(month, number), _FILES.get(end or "", ""), newest) if 0 < number <= newest else None

    def file(self, item: Written, name: str) -> bytes:
        """Return a file of a report."""
        return self._open().get(f"{item.folder}/{name}")

    def month(self, item: Written, newest: int) -> str:
        """Render what a report says: its figures, what stands out and what changed; ``newest`` is the last revision."""
        report = read(self._open(), item)
        here = f"{HERE}/{item.month}"
        others = [(number, f"{here}/{number}") for number in range(newest, 0, -1) if number != item.revision]
        return rendered(
            "month.html.j2",
            here,
            self._pages,
            report=report,
            file=f"{here}/{item.revision}",
            others=others,
            newest=newest,
            figures=[_figure(figure) for figure in report["figures"]],
        )


def _figure(figure: dict[str, Any]) -> dict[str, str]:
    """Return a figure as people read it."""
    names = ("value", "before", "year_before", "year_to_date")
    values = {name: readable(figure[name], figure["unit"]) for name in names}
    return {**values, **{name: figure[name] for name in ("label", "change", "year_change", "why_not", "definition")}}
