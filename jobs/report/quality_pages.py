"""Pages that lead to those of Great Expectations: an index of runs, latest first, and trends. Self-contained."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from jobs.ports.records import ROWS, QualityRecord
from jobs.ports.store import Store
from jobs.report.places import REPORTS, places
from jobs.report.run_report import QualityReport, RunReport
from jobs.report.templates import rendered
from marts.quality.drift import HISTORY, drifts, feed_of, is_short

RUNS = 50
"""Number of runs that are listed and whose pages are kept."""
_SHOWN = 30
"""Drops per feed in the trends."""
_FEEDS = 60
_LEAST_SHARE = 0.01
"""Smallest upper end of a chart of shares: the noise of rare errors stays small."""


def write_site(
    store: Store, runs: Sequence[RunReport], records: Sequence[QualityRecord], reports: str = REPORTS
) -> None:
    """Write index and trends, and remove the pages of runs that are not listed. ``runs`` are newest first."""
    where = places(reports, ".")
    existing = [version.key for version in store.versions("runs")]
    listed = {run.run_id for run in runs}
    kept = {key.split("/")[1] for key in existing} & listed
    for key in existing:
        if key.split("/")[1] not in listed:
            store.delete(key)
    index = rendered(
        "index.html.j2",
        places=where,
        here="quality",
        runs=runs,
        links={run.run_id: _link(run.run_id in kept) for run in runs},
    )
    trends = rendered(
        "trends.html.j2", places=where, here="trends", feeds=_feeds(records), shown=_SHOWN, least_share=_LEAST_SHARE
    )
    store.put("trends.html", trends.encode())
    store.put("index.html", index.encode())


def _link(exists: bool) -> Callable[[QualityReport], str]:
    """Return a function from a result to its page; it returns "" if the pages of the run do not exist."""
    return lambda report: quote(report.page) if exists else ""


def _feeds(records: Sequence[QualityRecord]) -> list[dict[str, Any]]:
    """Return the trends of each feed, those with the newest drops first."""
    feeds: dict[tuple[str, str], dict[str, dict[str, QualityRecord]]] = {}
    for record in records:
        drops = feeds.setdefault((record.kind, feed_of(record.object_key)), {})
        drops.setdefault(record.delivery_id, {})[record.rule_id] = record
    displayed = []
    for (kind, name), by_delivery in feeds.items():
        judged = [drop for drop in by_delivery.values() if ROWS in drop]
        judged.sort(key=lambda drop: (drop[ROWS].modified, drop[ROWS].object_key))
        if judged:
            displayed.append(_feed(kind, name, judged[-_SHOWN:]))
    return sorted(displayed, key=lambda feed: (feed["modified"], feed["name"]), reverse=True)[:_FEEDS]


def _feed(kind: str, name: str, drops: Sequence[Mapping[str, QualityRecord]]) -> dict[str, Any]:
    newest = drops[-1][ROWS]
    same = [drop for drop in drops if drop[ROWS].judged_by == newest.judged_by]
    words = {record.rule_id: record.rule for drop in drops for record in drop.values() if record.unexpected}
    rules = []
    for rule_id, message in sorted(words.items(), key=lambda item: (item[0] != ROWS, item[1])):
        counts = [_share(drop, rule_id) for drop in drops]
        last = [_share(drop, rule_id) for drop in same]
        shares = [unexpected / rows if rows else 0.0 for rows, unexpected in counts]
        label = message if rule_id == ROWS else f"rows that break: {message}"
        rules.append({"words": label, "shares": shares, "drifts": drifts(last[:-1], last[-1])})
    rows = [drop[ROWS].row_count for drop in drops]
    short = is_short([drop[ROWS].row_count for drop in same[:-1]], rows[-1])
    return {
        "kind": kind,
        "name": name,
        "modified": newest.modified,
        "newest": newest.object_key,
        "drops": len(drops),
        "first_day": drops[0][ROWS].modified[:10],
        "last_day": newest.modified[:10],
        "rows": rows,
        "short": short,
        "rules": rules,
    }


def _share(drop: Mapping[str, QualityRecord], rule: str) -> tuple[int, int]:
    return (drop[rule].row_count, drop[rule].unexpected) if rule in drop else (drop[ROWS].row_count, 0)


assert HISTORY <= _SHOWN
