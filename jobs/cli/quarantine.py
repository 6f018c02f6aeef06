"""`marts quarantine …`: list, repair, replay and accept rows in quarantine."""

import getpass
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.options import (
    Json,
    Who,
    Wide,
    looking,
    require_why,
    show,
    stamp,
    with_settings,
)
from jobs.runtime.escaping import visible
from marts.errors import DataError

if TYPE_CHECKING:
    from jobs.config.settings import Settings

quarantine = typer.Typer(help="Rows that break a rule: list, repair and release them.", no_args_is_help=True)
DropName = Annotated[str, typer.Argument(metavar="DROP", help="Key of the drop or the end of it")]


@quarantine.command("list")
@with_settings
def quarantine_list(
    settings: "Settings",
    as_json: Json = False,
    wide: Wide = False,
) -> None:
    """List live drops with rows in quarantine and drops that are held."""
    from jobs.cli import render_drops
    from jobs.operations.quarantine import remarks, with_rows

    with looking(settings, datetime.now(UTC)) as (now, _):
        drops = with_rows(now)
    for remark in remarks(now):
        typer.echo(f"note: {remark}", err=True)
    if as_json:
        results = [
            {
                "drop": d.delivery.key,
                "held": d.held,
                "rows": d.manifest.rows_read,
                "quarantined": d.manifest.quarantined,
            }
            | {"reasons": [reason.model_dump() for reason in d.manifest.reasons]}
            for d in drops
            if d.manifest
        ]
        typer.echo(json.dumps(results, indent=2))
    else:
        show(render_drops.quarantine(drops), stdout=True, wide=wide)


@quarantine.command("show")
@with_settings
def quarantine_show(
    drop: DropName,
    settings: "Settings",
    limit: Annotated[int, typer.Option(min=1, help="Number of rows to show")] = 20,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show personal data too")] = False,
    as_json: Json = False,
) -> None:
    """Show the rows of a drop that are in quarantine: line, every reason and the raw row."""
    from jobs.cli import render_drops
    from jobs.operations.quarantine import find_published, masked_row, rows_of

    with looking(settings, datetime.now(UTC)) as (now, _):
        result = find_published(now, drop)
        rows = rows_of(now, result)
    seen = [(row.line, list(row.reasons), row.raw if reveal else masked_row(now, result, row)) for row in rows[:limit]]
    if as_json:
        names = ("line", "reasons", "raw")
        typer.echo(json.dumps([dict(zip(names, row, strict=True)) for row in seen], indent=2))
    else:
        show(render_drops.bad_rows(result, seen, len(rows)), stdout=True)


@quarantine.command("export")
@with_settings
def quarantine_export(
    drop: DropName,
    settings: "Settings",
    to: Annotated[Path | None, typer.Option(help="File to write; stdout by default")] = None,
) -> None:
    """Export the rows of a drop that are in quarantine as CSV, unmasked, to repair and replay them."""
    from jobs.operations.quarantine import export, find_published

    with looking(settings, datetime.now(UTC)) as (now, _):
        text = export(now, find_published(now, drop))
    if to is None:
        typer.echo(visible(text, keep="\n") if sys.stdout.isatty() else text, nl=False)
        return
    to.write_text(text, encoding="utf-8")
    typer.echo(visible(f"wrote {to}; repair it, then: marts quarantine replay {drop} {to}"), err=True)


@quarantine.command("replay")
@with_settings
def quarantine_replay(
    drop: DropName,
    settings: "Settings",
    file: Annotated[
        Path | None, typer.Argument(help="Repaired export; by default the unchanged rows are judged again")
    ] = None,
    who: Who = None,
    why: Annotated[str, typer.Option(help="For the audit trail")] = "",
) -> None:
    """Put back repaired rows of a drop, or rows that changed rules now accept. The next build counts them."""
    from jobs.cli import render_drops
    from jobs.operations.quarantine import decide, find, replay

    with looking(settings, datetime.now(UTC), read_only=False) as (now, warehouse):
        result = find(now, drop)
        done, texts = replay(now, result, file.read_bytes() if file else None)
        if texts:
            lines = {str(line): text for line, text in texts.items()}
            decide(warehouse, result, "repair", who or getpass.getuser(), why, stamp(), lines)
    show(render_drops.replayed(result.delivery.key, done.clean, done.wrong), stdout=True)
    raise typer.Exit(0 if texts else DataError.exit_code)


@quarantine.command("accept")
@with_settings
def quarantine_accept(
    drop: DropName,
    why: Annotated[str, typer.Option(help="For the audit trail")],
    settings: "Settings",
    who: Who = None,
) -> None:
    """Release a held drop: its clean rows count from the next build on, its bad rows stay in quarantine."""
    from jobs.operations.quarantine import decide, find, require_held
    from jobs.steps.repair import HELD

    require_why(why)
    with looking(settings, datetime.now(UTC), read_only=False) as (now, warehouse):
        result = find(now, drop)
        require_held(result)
        built = decide(warehouse, result, "accept", who or getpass.getuser(), why, stamp(), {HELD: result.held})
    message = f"accepted {built.object_key}, by {built.who}: {why}\nwas held: {result.held}\n"
    message += "the next marts build counts its clean rows"
    typer.echo(visible(message, keep="\n"))
