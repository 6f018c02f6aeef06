"""`marts monthly`: the report of a month, as JSON and PDF."""

import json
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.options import Json, opened, with_places
from jobs.runtime.escaping import visible
from marts.errors import ServiceError, UsageError

if TYPE_CHECKING:
    from jobs.config.settings import Settings
    from jobs.pages.month_reports import MonthReport
    from jobs.ports.warehouse import Warehouse


@with_places
def monthly(
    settings: "Settings",
    month: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="The month; by default the last one that is over as of as_of")
    ] = None,
    so_far: Annotated[bool, typer.Option("--so-far", help="Report a month that is not over, marked so")] = False,
    mail: Annotated[
        bool, typer.Option("--mail", help="Send each new report once to the addresses in notify.reports")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the report of a month as PDF and JSON; a month that has changed since gets another revision."""
    from jobs.adapters.store.open import open_store
    from jobs.config.packs import required_dashboard, required_report
    from jobs.pages.month_reports import write_month, write_months
    from jobs.pages.month_source import Declared
    from jobs.pages.report_pdf import render

    settings.require("target")
    if so_far and mail:
        raise UsageError("a month that is not over is not mailed", "--mail", "leave out --so-far, or --mail")
    if so_far and month is None:
        raise UsageError("--so-far needs a month", "--month", "--month 2025-12 --so-far")
    to = _recipients(settings) if mail else ()
    day = _first_day(month) if month else None
    dashboard = required_dashboard(settings.domain)
    declared = Declared(settings.domain, dashboard, *required_report(settings.domain, dashboard))
    draw = partial(render, fonts=Path(settings.report_fonts) if settings.report_fonts else None)
    store = open_store(settings.reports_uri, settings.s3)
    with opened(settings, read_only=not mail) as warehouse:
        if so_far and day:
            reports = [write_month(warehouse, store, declared, day, draw)]
        else:
            reports = write_months(warehouse, store, declared, day, draw)
        if mail:
            _send(settings, warehouse, reports, to)
    place = settings.reports_uri.removeprefix("file://").rstrip("/")
    if as_json:
        items = [{"folder": f"{place}/{item.folder}", "is_new": item.is_new, **item.content} for item in reports]
        typer.echo(json.dumps({"reports": items}, ensure_ascii=False))
        return
    for item in reports:
        _print(item, place, item is reports[-1])


def _print(report: "MonthReport", place: str, is_last: bool) -> None:
    """Print where a report is, and the summary of a new one or the last one."""
    from jobs.pages.month_reports import lines_of
    from jobs.pages.revisions import PDF

    content = report.content
    number = f", revision {content['revision']}" if content["revision"] else " so far"
    state = "written" if report.is_new else "up to date"
    if report.is_new or is_last:
        typer.echo(f"{content['title']}, {content['month']}{number}: {state}")
        for line in lines_of(report):
            typer.echo(visible(f"  {line}") if line else "")
        typer.echo(f"{place}/{report.folder}/{PDF}")


def _first_day(month: str) -> date:
    try:
        day = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError as error:
        raise UsageError(f"{month!r} is no month", "--month", "write it as 2025-12") from error
    if not 1900 <= day.year <= 9000:
        raise UsageError(f"{month!r} is no month of business", "--month", "write it as 2025-12")
    return day


def _recipients(settings: "Settings") -> tuple[str, ...]:
    """Return the names of the addresses. Raise UsageError if there are none, or one is unknown."""
    notify = settings.notify
    if not notify.reports:
        hint = 'set notify.reports in marts.toml: reports = ["finance"], and seal notify.to.finance'
        raise UsageError("nobody gets the monthly report", "notify.reports", hint)
    if unknown := [name for name in notify.reports if name not in notify.to]:
        known = f"configured: {', '.join(notify.to) or 'none'}"
        raise UsageError(f"{unknown[0]} is no address", "notify.reports", known)
    return notify.reports


def _send(settings: "Settings", warehouse: "Warehouse", reports: "list[MonthReport]", to: tuple[str, ...]) -> None:
    """Send each report once, also one that was written without --mail. Raise ServiceError if some are pending."""
    from jobs.pages.month_reports import notice_of
    from jobs.report.delivery import deliver, files_of, keep

    place = settings.reports_url or settings.reports_uri
    keep(warehouse, [notice_of(report, to, place, datetime.now(UTC)) for report in reports])
    sent, failed = deliver(warehouse, settings.notify, lambda: datetime.now(UTC), files_of(settings))
    typer.echo(f"{sent} sent, {len(failed)} pending", err=True)
    if failed:
        raise ServiceError(failed[0], "notify", "`marts notify send` tries again; `marts notify list` shows all")
