"""The report page of a run and the index of runs: what a run did, and the headline figures of the marts.

Self-contained: no script, no address except those of Martwright's pages. The same report renders the same bytes.
"""

import csv
import re
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import date
from functools import partial
from typing import Any
from urllib.parse import quote

from jobs.adapters.charts import reports as charts
from jobs.adapters.charts.drawing import NARROW, WIDE
from jobs.adapters.charts.drawing import prepare as prepare_charts
from jobs.ports.store import Store
from jobs.report.highlights import ReportedGroups, ReportedMonths, ReportedTop
from jobs.report.places import DOCS, address, places
from jobs.report.run_report import LEFT_OUT, DropReport, RunReport
from jobs.report.templates import compile_templates, rendered
from jobs.state.manifest import Reason
from marts.compute.unusual import goes_on, judged_months

_LOOK = LEFT_OUT
"""States of drops that need attention."""
_SHOWN = 300
"""Maximum number of listed drops."""
_RULES = 12
_WIDTHS = (("wide", WIDE), ("narrow", NARROW))
"""Widths of a chart that is drawn for a screen and for a phone, by the class of its figure."""
_DELIMITERS = ",;\t|"
"""Delimiters of an example line: the report does not contain the setting."""
_GENERATOR, _HEAD = b'content="Martwright"', 2000
"""Mark of Martwright's pages in their first bytes: other files in the same folder are not removed."""
_CAUGHT_UP = 10
"""Maximum missing pages of earlier runs to write at a time: a killed run could not write its own."""
_HEADLINES = {
    "published": "The new marts are live",
    "unchanged": "Nothing had to change",
    "failed": "The run failed",
    "unknown": "It is not known whether the new marts are live",
    "running": "The run is in progress",
}
_LEFT_OUT = {
    "held": "none of its rows counts until it is repaired, replaced or accepted",
    "rejected": "it cannot be read",
    "deferred": "it changed while it was read: run again",
    "missing": "its object is missing from the source, and it counts until a decision: marts withdraw list",
}
"""Consequences of each state of a drop that is left out."""


def prepare() -> None:
    """Compile the templates and start the renderer of charts: this takes longer than to write the pages."""
    compile_templates()
    prepare_charts()


def write_reports(store: Store, report: RunReport, listed: Sequence[RunReport], docs: str = DOCS) -> None:
    """Write the page of a run and the index, and remove the pages of runs that are not ``listed`` (newest first).

    Write the missing pages of listed runs too, unless they are still running.
    """
    runs = listed if any(run.run_id == report.run_id for run in listed) else (report, *listed)
    names = {page_of(run): run for run in runs}
    existing = {version.key for version in store.versions("")}
    for key in sorted(existing - names.keys() - {"index.html"}):
        if key.endswith(".html") and "/" not in key and _GENERATOR in store.get(key)[:_HEAD]:
            store.delete(key)
    missing = [name for name, run in names.items() if name not in existing and run.outcome != "running"]
    for name in dict.fromkeys([page_of(report), *missing[:_CAUGHT_UP]]):
        run = report if name == page_of(report) else names[name]
        store.put(name, report_page(run, docs).encode())
        existing.add(name)
    store.put("index.html", index_page(runs, existing, docs).encode())


def write_again(store: Store, listed: Sequence[RunReport], docs: str = DOCS) -> None:
    """Write the existing pages again: their reports changed because a person was erased from them."""
    existing = {version.key for version in store.versions("")}
    for run in listed:
        if page_of(run) in existing:
            store.put(page_of(run), report_page(run, docs).encode())
    store.put("index.html", index_page(listed, existing, docs).encode())


def report_page(report: RunReport, docs: str = DOCS) -> str:
    """Render a run. ``docs`` is the location of the data docs: a path from the page's folder, or an address."""
    return rendered(
        "run.html.j2",
        places=places(".", docs),
        here="",
        run=report,
        docs=address(docs),
        quality_link=lambda judged: f"{address(docs)}/{quote(judged.page)}" if address(docs) else "",
        headline=_headline(report),
        more=[] if report.error else [_left_out(why, count) for why, count in report.left_out.items()],
        drops=_drops(report.drops),
        highlights=report.highlights,
        sums_of_months=partial(_of_months, as_of=date.fromisoformat(report.as_of)),
        sums_of_groups=_of_groups,
        charts_of_top=_of_top,
        fields_of=fields_of,
        steps=charts.steps(report.seconds) if report.seconds else "",
    )


def index_page(reports: Sequence[RunReport], existing: Collection[str] | None = None, docs: str = DOCS) -> str:
    """Render the list of runs in the given order. ``existing`` names the pages to link to; by default all."""
    pages = {run.run_id: page_of(run) for run in reports if existing is None or page_of(run) in existing}
    return rendered("runs.html.j2", places=places(".", docs), here="runs", runs=reports, pages=pages, quote=quote)


def page_of(report: RunReport) -> str:
    """Return the name of the page of a run, below the folder of the reports."""
    return f"{quote(report.run_id, safe='')}.html"


def _headline(report: RunReport) -> str:
    if report.held_back:
        return "New marts were built and held back"
    if report.error:
        return " ".join(report.error.what.split())
    if report.outcome == "published" and len(report.marts) == 1:
        return "The new mart is live"
    if report.left_out:
        head = "The live marts are unchanged" if report.outcome == "unchanged" else _HEADLINES[report.outcome]
        return f"{head}, but some drops need attention"
    return _HEADLINES[report.outcome]


def _left_out(why: str, count: int) -> str:
    """Return a sentence about the drops that are left out for a reason."""
    means = _LEFT_OUT[why]
    if count == 1:
        return f"1 drop is {why}: {means}."
    return f"{count:,} drops are {why}: of each, {means}." if why == "held" else f"{count:,} drops are {why}: {means}."


def _drops(drops: Sequence[DropReport]) -> dict[str, Any]:
    """Split the drops into those that need attention and the others, with reasons for quarantine of live ones."""
    look = [drop for drop in drops if drop.state in _LOOK]
    others = [drop for drop in drops if drop.state not in _LOOK]
    others.sort(key=lambda drop: (-drop.quarantined, not drop.is_fact, drop.kind, drop.key))
    named = Counter(drop.change if drop.state == "live" else drop.state for drop in others)
    return {
        "look": look[:_SHOWN],
        "others": others[:_SHOWN],
        "left_out": max(len(look) - _SHOWN, 0) + max(len(others) - _SHOWN, 0),
        "counts": sorted(named.items()),
        "rules": _rules([drop for drop in others if drop.state == "live"]),
    }


def fields_of(reason: Reason, columns: Sequence[str]) -> list[tuple[str, str, bool]]:
    """Split the example line of a reason into column, value, and whether the broken rule names the column.

    Empty unless exactly one delimiter splits the line into as many values as there are columns: it may be cut, masked
    as a whole or contain line breaks. The page then shows the line itself.
    """
    if len(columns) < 2 or "\n" in reason.raw or "\r" in reason.raw:
        return []
    split = [next(csv.reader([reason.raw], delimiter=delimiter), []) for delimiter in _DELIMITERS]
    fitting = [values for values in split if len(values) == len(columns)]
    if len(fitting) != 1:
        return []
    words = set(re.findall(r"\w+", reason.rule))
    return [(name, value, name in words) for name, value in zip(columns, fitting[0], strict=True)]


def _rules(drops: Sequence[DropReport]) -> list[dict[str, Any]]:
    """Return the most common reasons for quarantine, each with an example."""
    rows: Counter[str] = Counter()
    places: Counter[str] = Counter()
    examples: dict[str, tuple[DropReport, Reason]] = {}
    for drop in drops:
        for reason in drop.reasons:
            rows[reason.rule] += reason.rows
            places[reason.rule] += 1
            examples.setdefault(reason.rule, (drop, reason))
    return [
        {"rule": rule, "rows": count, "drops": places[rule], "drop": examples[rule][0], "reason": examples[rule][1]}
        for rule, count in sorted(rows.items(), key=lambda item: (-item[1], item[0]))[:_RULES]
    ]


def _of_groups(item: ReportedGroups) -> dict[str, Any]:
    """Return the sums and the chart of groups."""
    counts = [(group.name, group.flag, group.count) for group in item.groups]
    return {
        "count": sum(group.count for group in item.groups),
        "flagged": sum(group.count for group in item.groups if group.flag),
        "svg": charts.groups(counts, item.flags, item.title),
    }


def _of_top(item: ReportedTop) -> list[dict[str, Any]]:
    """Return the charts of listed rows: those with a chart, on a screen and on a phone."""
    if item.chart is None:
        return []
    heading = {column.name: column.heading for column in item.columns}
    named = f"{heading.get(item.chart.value, item.chart.value)} beside {heading.get(item.chart.expected, 'expected')}"
    drawn = [
        {"name": name, "svg": charts.listed(item.chart, item.rows, width, f"{item.title}, {named}".lower())}
        for name, width in _WIDTHS
    ]
    return [chart for chart in drawn if chart["svg"]]


def _of_months(item: ReportedMonths, as_of: date) -> dict[str, Any]:
    """Return the sums and the charts of months."""
    last = item.months[-1].month
    open_month = last if goes_on(last, as_of) else ""
    return {
        "open": open_month,
        "judged": len(judged_months(item.months, as_of)),
        "total": sum(month.total for month in item.months),
        "unusual": {month.month for month in item.unusual},
        "charts": [
            {
                "name": name,
                "svg": charts.months(item.months, item.unusual, open_month, width, item.total_heading),
                "months": charts.displayed_months(len(item.months), width),
            }
            for name, width in _WIDTHS
        ],
    }
