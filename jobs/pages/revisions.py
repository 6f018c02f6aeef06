"""Reports that were written, by month and revision: a month that changes gets another one, which lists what changed."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.pages.words import readable
from jobs.ports.store import Store

FOLDER = "monthly"
"""Folder of the reports of months, beside those of runs."""
JSON, PDF = "report.json", "report.pdf"
_MOST = 50
"""Changes that are listed; of more, the number."""
_VALUES = {
    "value": "",
    "before": " of the month before",
    "year_before": " of the year before",
    "year_to_date": " of the year",
}
Report = Mapping[str, Any]
_DERIVED = ("text", "change", "percent")
"""Units of columns that follow from others, or name the row."""
NO_CHANGES: Report = {"supersedes": None, "changes": [], "changed_by": ""}


@dataclass(frozen=True)
class Written:
    """A report in the store."""

    month: str
    revision: int

    @property
    def folder(self) -> str:
        return f"{FOLDER}/{self.month}/{self.revision}"


def written(store: Store) -> list[Written]:
    """List the newest revision of each month, by month."""
    newest: dict[str, int] = {}
    for version in store.versions(FOLDER):
        *_, month, revision, name = version.key.split("/")
        if name == JSON and revision.isdecimal():
            newest[month] = max(newest.get(month, 0), int(revision))
    return [Written(month, revision) for month, revision in sorted(newest.items())]


def read(store: Store, item: Written) -> dict[str, Any]:
    """Read a report."""
    content: dict[str, Any] = json.loads(store.get(f"{item.folder}/{JSON}"))
    return content


def as_bytes(report: Report) -> bytes:
    """Write a report: equal reports have equal bytes."""
    return (json.dumps(report, ensure_ascii=False, indent=1) + "\n").encode()


def numbered(report: Report, earlier: Report | None = None, since: str = "") -> dict[str, Any]:
    """Return a report with its number, and what changed since the revision before, if there is one.

    ``since`` is what happened since then.
    """
    if earlier is None:
        return {**report, "revision": 1, **NO_CHANGES}
    changes = list(_changes(earlier, report))
    if more := len(changes) - _MOST:
        changes = changes[:_MOST] + ([{"label": f"{more:,} more values", "was": "", "is": ""}] if more > 0 else [])
    return {
        **report,
        "revision": earlier["revision"] + 1,
        "supersedes": earlier["revision"],
        "changes": changes,
        "changed_by": since,
    }


def has_changed(report: Report, earlier: Report) -> bool:
    """Return whether what a report says of its month differs from an earlier revision."""
    return _content(report) != _content(earlier)


def _content(report: Report) -> dict[str, str]:
    """Return each value of the month by its name; the second of a name has a number."""
    content: dict[str, str] = {}
    times = Counter[str]()
    for name, value in _values(report):
        times[name] += 1
        content[name if times[name] == 1 else f"{name} ({times[name]})"] = value
    return content


def _values(report: Report) -> Iterator[tuple[str, str]]:
    """Yield each value of the month with its name; not what is about as_of, such as segments."""
    for figure in report["figures"]:
        for name, words in _VALUES.items():
            yield f"{figure['label']}{words}", readable(figure[name], figure["unit"])
    for part in report["parts"]:
        for chart in part["charts"]:
            if not chart["is_as_of"] and chart["kind"] == "days":
                own = chart["series"][0]
                for day, value in zip(chart["days"], own["values"], strict=True):
                    yield f"{chart['title']}: {day}", readable(value, chart["unit"])
    for table in [*(table for part in report["parts"] for table in part["tables"]), *report["annex"]]:
        if not table["is_as_of"]:
            yield from _cells(table)


def _cells(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each value of a table with its name: the texts of its row, and its heading."""
    columns = table["columns"]
    for row in table["rows"]:
        texts = [str(cell) for cell, column in zip(row, columns, strict=True) if column["unit"] == "text"]
        for cell, column in zip(row, columns, strict=True):
            if column["unit"] not in _DERIVED:
                name = f"{table['title']}, {', '.join(texts)}: {column['label']}"
                yield name, readable(cell, column["unit"])


def _changes(earlier: Report, report: Report) -> Iterator[dict[str, str]]:
    """Yield values that differ; the same one of two tables once."""
    was, now, known = _content(earlier), _content(report), set[tuple[str, ...]]()
    for name in dict.fromkeys([*now, *was]):
        values = (was.get(name, ""), now.get(name, ""))
        own = (name.partition(", ")[2] or name, *values)
        if values[0] != values[1] and own not in known:
            known.add(own)
            yield {"label": name, "was": values[0], "is": values[1]}
