"""`marts report` and `marts docs`: the pages that builds write."""

import tempfile
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.options import Json, opened, with_places
from marts.errors import UsageError

if TYPE_CHECKING:
    from jobs.config.settings import Settings
    from jobs.report.run_report import RunReport


@with_places
def report(
    settings: "Settings",
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="Run id or the end of it; the last run by default")] = "",
    to: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a self-contained copy of the page")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser")] = False,
    as_json: Json = False,
) -> None:
    """Print the location of a run's report page, open it, or write a copy."""
    from jobs.adapters.store.open import open_store
    from jobs.report.run_pages import page_of, report_page

    settings.require("target")
    announced = _report(settings, run)
    if as_json:
        typer.echo(announced.model_dump_json(indent=2))
        return
    name = page_of(announced)
    page = f"{settings.reports_uri.rstrip('/')}/{name}"
    local = Path(page.removeprefix("file://"))
    if to or (open_ and not local.is_file()):
        reports = open_store(settings.reports_uri, settings.s3)
        existing = name in {version.key for version in reports.versions("")}
        local = to or Path(tempfile.mkdtemp(prefix="marts-")) / name
        # The page that the run wrote contains names of people; the ledger does not.
        local.write_bytes(reports.get(name) if existing else report_page(announced).encode())
    if to is None or to.is_file():  # a pipe receives only the page
        typer.echo(local if local.is_file() else page)
    if open_:
        webbrowser.open(local.absolute().as_uri())


def _report(settings: "Settings", run: str) -> "RunReport":
    """Find the report of a run in the ledger."""
    from jobs.report.run_records import recent_reports

    with opened(settings, read_only=True) as warehouse:
        runs = [item for item in recent_reports(warehouse) if item.outcome != "running"]
    results = [item for item in runs if item.run_id.endswith(run)]
    if not results:
        known = f"the last runs are {', '.join(item.run_id for item in runs[:3])}" if runs else "no run has ended yet"
        raise UsageError("the ledger contains no report of this run", run or settings.target or "", known)
    return results[0]


@with_places
def docs(
    settings: "Settings",
    open_: Annotated[bool, typer.Option("--open", help="Open the index in a browser")] = False,
) -> None:
    """Print the location of the data quality pages or open them."""
    index = f"{settings.docs_uri.rstrip('/')}/index.html"
    local = Path(index.removeprefix("file://"))
    if "s3://" not in index and not local.is_file():
        raise UsageError("no data quality pages exist yet", index, "run marts build first")
    typer.echo(index)
    if open_:
        if "s3://" in index:
            hint = "publish the prefix as a static site, or copy it to this machine"
            raise UsageError("a browser cannot open s3:// addresses", index, hint)
        webbrowser.open(local.absolute().as_uri())
