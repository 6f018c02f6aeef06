"""The page of what the last publication changed: rows of marts, and the drops behind it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from jobs.pages.html import rendered
from jobs.pages.live import LISTED, Changes
from jobs.pages.publication import Publication
from jobs.ports.differences import RowDifference
from jobs.report.differences import Differences, MartDifference, values_of
from jobs.runtime.escaping import csv_for_spreadsheet
from marts.values import displayed


def changes_page(
    here: str, pages: Sequence[tuple[str, str]], publication: Publication, changes: Changes, is_current: bool
) -> str:
    """Render what differs between two publications: the last two, if it ``is_current``."""
    compared = changes.compared
    return rendered(
        "changes.html.j2",
        here,
        pages,
        publication=publication,
        compared=compared,
        is_current=is_current,
        why_not=changes.why_not,
        listed=LISTED,
        marts=[_mart(part) for part in compared.marts] if compared else [],
    )


def drops_in_words(changes: Changes, was: str, now: str) -> str:
    """Return how many drops of each kind of change are between the publications of two runs; empty if not known."""
    compared = changes.compared
    if compared is None or (compared.was.run_id, compared.now.run_id) != (was, now):
        return ""
    counts = Counter(drop.change for drop in compared.drops)
    return ", ".join(f"{count:,} {change}" for change, count in sorted(counts.items()))


def _mart(part: MartDifference) -> dict[str, Any]:
    own, mart = part.comparison, part.mart
    sums = [(s.column, f"{s.was:,}", f"{s.now:,}", f"{s.difference:+,}") for s in own.sums if s.difference]
    return {
        "name": mart.name,
        "table": mart.table,
        "own": own,
        "total": part.total,
        "sums": sums,
        "key": [name.replace("_", " ") for name in mart.key],
        "rows": [(row.change, _texts(part, row.key), _values(part, row)) for row in own.rows],
    }


def _texts(part: MartDifference, values: Any) -> list[str]:
    """Write values: flags as words, NULL as a dash."""
    words = {None: "–", True: "yes", False: "no"}
    texts = displayed(part.mart, dict(values))
    return [words[v] if v is None or isinstance(v, bool) else texts[name] for name, v in values.items()]


def _values(part: MartDifference, row: RowDifference) -> list[tuple[str, str, str, str]]:
    """Return the values of a row that differ, as texts: the column, what it was, what it is, the difference."""
    was, now = (dict(zip(side, _texts(part, side), strict=True)) for side in (row.was, row.now))
    return [
        (name, was.get(name, ""), now.get(name, ""), "" if change is None else f"{change:+,}")
        for name, _, _, change in values_of(part, row)
    ]


def changes_csv(compared: Differences) -> str:
    """Return the listed rows of all marts as CSV: one line for each value that differs."""
    rows: list[Sequence[object]] = [("mart", "key", "change", "column", "was", "is", "difference")]
    for part in compared.marts:
        for row in part.comparison.rows:
            key = ", ".join(f"{name} {value}" for name, value in row.key.items())
            rows += [(part.mart.name, key, row.change, *value) for value in values_of(part, row)]
    return csv_for_spreadsheet(rows)
