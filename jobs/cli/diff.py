"""`marts diff`: rows that differ between the live publication and the one before it."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.options import Json, Wide, opened, show, with_target
from jobs.cli.views import Csv, require_one_format

if TYPE_CHECKING:
    from jobs.config.settings import Settings

_LIMIT, _LIMIT_OF_ALL = 10, 3
"""Rows of the mart that is named, and of each mart if none is."""


@with_target
def diff(
    settings: "Settings",
    mart: Annotated[
        str, typer.Argument(metavar="[MART]", help="Name or table of a mart; by default all, with their first rows")
    ] = "",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Number of rows to show: 10, or 3 of each mart by default")
    ] = None,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:
    """Show which rows of the marts the last publication changed, by how much, and the drops behind it."""
    from jobs.cli import render_diff
    from jobs.report.differences import as_csv as marts_as_csv
    from jobs.report.differences import as_json as as_objects
    from jobs.report.differences import differences, rows_as_csv

    require_one_format(as_json, as_csv)
    settings.require("target")
    with opened(settings, read_only=True) as warehouse:
        compared = differences(warehouse, settings.domain, mart, limit or (_LIMIT if mart else _LIMIT_OF_ALL))
    if as_json:
        typer.echo(json.dumps(as_objects(compared), indent=2, default=str))
    elif as_csv and mart:
        (part,) = compared.marts
        typer.echo(rows_as_csv(part), nl=False)
        if left_out := part.comparison.left_out:
            typer.echo(f"{left_out:,} more rows differ; --limit shows them", err=True)
    elif as_csv:
        typer.echo(marts_as_csv(compared), nl=False)
    else:
        show(render_diff.differences(compared, of_one=bool(mart)), stdout=True, wide=wide)
