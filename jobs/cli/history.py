"""`marts history`, `marts rollback` and `marts audit …`."""

import difflib
import getpass
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.decisions import show_replaced
from jobs.cli.options import (
    Json,
    Who,
    Wide,
    opened,
    run_id_of,
    show,
    stamp,
    with_settings,
    with_target,
)
from marts.errors import DataError, OutcomeUnknown, UsageError

if TYPE_CHECKING:
    from jobs.config.settings import Settings

audit = typer.Typer(help="The audit trail: who decided what, when and why.", no_args_is_help=True)
_RUNS = _RECENT = 1000
"""Number of last runs whose recorded audit hash is checked."""


@with_settings
def history(
    settings: "Settings",
    drop: Annotated[str, typer.Argument(metavar="[DROP]", help="Key of a drop or the end of it; all by default")] = "",
    replaced: Annotated[
        str | None, typer.Option(metavar="DROP", help="Show replaced lines of this drop, with their replacements")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of events to show")] = 50,
    as_json: Json = False,
    wide: Wide = False,
) -> None:
    """Show when each version of a drop arrived and what happened to it, run by run."""
    from jobs.cli import render_drops

    if replaced:
        show_replaced(settings, replaced, limit, as_json, wide)
        return
    settings.require("target")
    with opened(settings, read_only=True) as warehouse:
        events = warehouse.history(drop, limit)
        decisions = [item for item in warehouse.decisions() if item.object_key.endswith(drop)]
        recent = [] if events or not drop else [item.object_key for item in warehouse.history("", _RECENT)]
    if drop and not events:
        match = difflib.get_close_matches(drop, [*recent, *(key.rpartition("/")[2] for key in recent)], 1, 0.5)
        hint = f"did you mean {match[0]}?" if match else "`marts history` lists the last drops of all runs"
        raise UsageError("no run has processed this drop", drop, hint)
    if as_json:
        announced = {"drops": [asdict(event) for event in events], "decisions": [asdict(item) for item in decisions]}
        typer.echo(json.dumps(announced, indent=2))
    else:
        show(render_drops.history(events, decisions), stdout=True, wide=wide)


@with_target
def rollback(
    settings: "Settings",
    why: Annotated[str, typer.Option(help="For the audit trail")] = "",
    who: Who = None,
    as_json: Json = False,
) -> None:
    """Roll back to the previous publication. Run it again to undo."""
    from jobs.cli import render
    from jobs.ports.records import Rollback

    settings.require("target")
    with opened(settings) as warehouse:
        warehouse.prepare()
        by = Rollback(f"rollback-{run_id_of(datetime.now(UTC))}", stamp(), who or getpass.getuser(), why)
        try:
            live = warehouse.rollback(by)
        except OutcomeUnknown as error:
            hint = "check `marts status` before you run it again: a second rollback undoes the first"
            raise OutcomeUnknown(error.what, error.where, hint) from error
    if as_json:
        typer.echo(json.dumps([asdict(generation) for generation in live], indent=2))
    else:
        show(render.rolled_back(live), stdout=True)


@audit.command("list")
@with_target
def audit_list(settings: "Settings", as_json: Json = False, wide: Wide = False) -> None:
    """List decisions, oldest first."""
    from jobs.cli import render

    settings.require("target")
    with opened(settings, read_only=True) as warehouse:
        entries = warehouse.audit()
    if as_json:
        typer.echo(json.dumps([asdict(entry) for entry in entries], indent=2))
    else:
        show(render.audit(entries), stdout=True, wide=wide)


@audit.command("verify")
@with_target
def audit_verify(
    settings: "Settings",
    head: Annotated[str, typer.Option(help="Hash of an entry that you stored elsewhere")] = "",
) -> None:
    """Check that no entry was changed, removed or cut off since it was written."""
    from jobs.ports.audit import BEGIN, broken

    settings.require("target")
    with opened(settings, read_only=True) as warehouse:
        entries = warehouse.audit()
        seen = [json.loads(run.report).get("audit", "") for run in warehouse.runs(_RUNS)]
    wrong = broken(entries, [item for item in (head, *seen) if item])
    if wrong:
        raise DataError(wrong, "audit trail", "compare it with a backup of the database")
    last = entries[-1].hash if entries else BEGIN
    typer.echo(f"{len(entries)} entries, none was changed, removed or cut off; store this hash elsewhere: {last}")
