"""Write the reports of months into the folder of the reports, and announce each revision once."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from jobs.pages.choice import Bounds
from jobs.pages.month_source import Declared, read_months
from jobs.pages.monthly import compose, last_month
from jobs.pages.revisions import (
    FOLDER,
    JSON,
    NO_CHANGES,
    PDF,
    Report,
    Written,
    as_bytes,
    has_changed,
    numbered,
    read,
    written,
)
from jobs.pages.words import readable
from jobs.ports.notices import Notice, NoticeDelivery
from jobs.ports.store import Store
from jobs.ports.warehouse import Warehouse
from jobs.report.differences import drops_between

CHECKED = 12
"""Months that were reported and are looked at again."""
_SO_FAR = "so-far"
_LISTED, _DROPS = 10, 5
"""Changes and drops that are named."""
Draw = Callable[[bytes], bytes]
"""Returns the PDF of a report, from its JSON."""


@dataclass(frozen=True)
class MonthReport:
    """A report that was written or found up to date."""

    folder: str
    content: Mapping[str, Any]
    is_new: bool
    sha256: str
    """Of the PDF."""


def write_month(warehouse: Warehouse, store: Store, declared: Declared, month: date, draw: Draw) -> MonthReport:
    """Write what there is of a month that is not over; the next one replaces it."""
    source = read_months(warehouse, declared, lambda _: [month])
    content = {**compose(source, declared, month, True), "revision": 0, **NO_CHANGES}
    folder, text = f"{FOLDER}/{month:%Y-%m}/{_SO_FAR}", as_bytes(content)
    page = _drawn(store, folder, text, draw)
    store.put(f"{folder}/{JSON}", text)
    return MonthReport(folder, content, True, _digest(page))


def write_months(
    warehouse: Warehouse, store: Store, declared: Declared, month: date | None, draw: Draw
) -> list[MonthReport]:
    """Write the report of a month, or of the last one that is over.

    Without a month, those of the last year that were reported get another revision if they have changed.
    """
    known = {item.month: item for item in written(store)}

    def months_of(bounds: Bounds) -> Sequence[date]:
        newest = month or last_month(bounds.last)
        first = bounds.first.replace(day=1)
        earlier = [date.fromisoformat(f"{name}-01") for name in known] if month is None else []
        return [*sorted(day for day in earlier if first <= day < newest)[-CHECKED:], newest]

    source = read_months(warehouse, declared, months_of)
    return [_write(warehouse, store, compose(source, declared, day), known, draw) for day in source.tables]


def _write(
    warehouse: Warehouse, store: Store, content: Report, known: Mapping[str, Written], draw: Draw
) -> MonthReport:
    """Write the next revision of a report, unless nothing has changed since the last one.

    The JSON, which is written first, takes the number: of two commands at the same time one does, and the other reads
    what it has written.
    """
    before = known.get(content["month"])
    while True:
        earlier = read(store, before) if before else None
        if before and earlier and not has_changed(content, earlier):
            return MonthReport(before.folder, earlier, False, _digest(_page(store, before.folder, draw)))
        own = numbered(content, earlier, _since(warehouse, earlier, content)) if earlier else numbered(content)
        next_, text = Written(own["month"], own["revision"]), as_bytes(own)
        if store.put_new(f"{next_.folder}/{JSON}", text):
            return MonthReport(next_.folder, own, True, _digest(_drawn(store, next_.folder, text, draw)))
        before = next_


def _page(store: Store, folder: str, draw: Draw) -> bytes:
    """Return the PDF of a report. It is drawn from its JSON if there is none yet: a command may have been killed."""
    key = f"{folder}/{PDF}"
    if any(version.key == key for version in store.versions(folder)):
        return store.get(key)
    return _drawn(store, folder, store.get(f"{folder}/{JSON}"), draw)


def _drawn(store: Store, folder: str, text: bytes, draw: Draw) -> bytes:
    """Write the PDF of a report; return it."""
    page = draw(text)
    store.put(f"{folder}/{PDF}", page)
    return page


def _since(warehouse: Warehouse, earlier: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    """Return what happened between the publications of two reports: drops that changed, a rollback."""
    was, now = (datetime.fromisoformat(report["published_at"]) for report in (earlier, content))
    drops = drops_between(warehouse, *(moment.isoformat(timespec="microseconds") for moment in (was, now)))
    named = [f"{drop.key} ({drop.change})" for drop in drops[:_DROPS]]
    named += [f"{len(drops) - _DROPS:,} more"] if len(drops) > _DROPS else []
    if now < was:
        return f"A rollback to run {content['run_id']}: without the drops {', '.join(named) or 'of none'}."
    return f"Drops since then: {', '.join(named)}." if named else ""


def _digest(page: bytes) -> str:
    return hashlib.sha256(page).hexdigest()


def notice_of(report: MonthReport, to: Sequence[str], place: str, now: datetime) -> Notice:
    """Return the notice of a new report; ``place`` is the folder or the site of the reports."""
    content = report.content
    month, revision, moment = content["month"], content["revision"], now.isoformat()
    subject = f"{content['title']}: report of {month}" + (f", revision {revision}" if revision > 1 else "")
    files = (f"{report.folder}/{PDF}", f"{report.folder}/{JSON}")
    return Notice(
        f"report-{content['pack']}-{month}-{revision}",
        "report",
        "info",
        moment,
        content["run_id"],
        subject,
        "\n".join([*lines_of(report), "", f"{place.rstrip('/')}/{files[0]}", f"SHA-256 of the PDF: {report.sha256}"]),
        deliveries={name: NoticeDelivery() for name in to},
        closed_at=moment,
        files=files,
    )


def lines_of(report: MonthReport) -> list[str]:
    """Return the summary of a report as lines of text."""
    content = report.content
    lines = []
    if content["is_so_far"]:
        lines += [f"So far: up to {content['as_of']}.", ""]
    if content["changes"]:
        lines.append(f"What changed since revision {content['supersedes']}:")
        changes = content["changes"]
        lines += [f"  {_changed(item)}" for item in changes[:_LISTED]]
        lines += [f"  {len(changes) - _LISTED:,} more, on the first page"] if len(changes) > _LISTED else []
        lines += [f"  {content['changed_by']}"] if content["changed_by"] else []
        lines.append("")
    before = "the same days of the month before" if content["is_so_far"] else "the month before"
    lines += [f"Amounts in {content['currency']}."] if content["currency"] else []
    for figure in content["figures"]:
        value = readable(figure["value"], figure["unit"]) or f"none: {figure['why_not']}"
        change = f" ({figure['change']} on {before})" if figure["change"] else ""
        lines.append(f"{figure['label']}: {value}{change}")
    lines += ["", *(item["text"] for item in content["insights"])] if content["insights"] else []
    return lines


def _changed(item: Mapping[str, str]) -> str:
    return f"{item['label']}: {item['was'] or 'none'} -> {item['is'] or 'none'}"
