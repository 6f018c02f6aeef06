"""`marts withdraw …`, `marts accept-fall` and `marts check …`: decisions that builds ask for, and checks."""

import getpass
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.options import (
    Json,
    Who,
    Wide,
    looking,
    opened,
    require_why,
    show,
    stamp,
    with_settings,
    with_target,
)
from jobs.runtime.escaping import visible
from marts.errors import UsageError

if TYPE_CHECKING:
    from jobs.config.settings import Settings
    from jobs.operations.survey import Survey
    from jobs.steps.resolve import ResolvedDrop

withdraw = typer.Typer(help="Drops whose objects are missing: remove their rows or keep them.", no_args_is_help=True)
check = typer.Typer(help="Check the live data for suspicious values.", no_args_is_help=True)

Drops = Annotated[
    list[str] | None,
    typer.Argument(metavar="[DROP]…", help="Keys of drops; all that await a decision by default"),
]
Why = Annotated[str, typer.Option(help="Reason for the audit trail")]


@withdraw.command("list")
@with_settings
def withdraw_list(
    settings: "Settings",
    as_json: Json = False,
    wide: Wide = False,
) -> None:
    """List the drops whose objects are missing and what the next build does with each."""
    from jobs.cli import render_drops

    with looking(settings, datetime.now(UTC)) as (now, _):
        removed = _vanished(now)
    if as_json:
        displayed = [
            {
                "drop": v.drop.delivery.key,
                "delivery": v.drop.delivery.id,
                "state": v.state,
                "reason": v.reason,
                "clean": v.drop.record.clean if v.drop.record else 0,
                "total": str(v.drop.record.counted_total) if v.drop.record else "0",
            }
            for v in removed
        ]
        typer.echo(json.dumps(displayed, indent=2))
    else:
        show(render_drops.gone_drops(removed), stdout=True, wide=wide)


@withdraw.command("accept")
@with_settings
def withdraw_accept(
    settings: "Settings",
    drops: Drops = None,
    why: Why = "",
    who: Who = None,
) -> None:
    """Withdraw drops whose objects are missing: the next build removes their lines."""
    from jobs.steps.withdrawals import ACCEPT

    _decide(settings, ACCEPT, drops, why, who, "the next marts build removes their lines")


@withdraw.command("refuse")
@with_settings
def withdraw_refuse(
    settings: "Settings",
    drops: Drops = None,
    why: Why = "",
    who: Who = None,
) -> None:
    """Keep drops whose objects are missing: their lines stay in the marts."""
    from jobs.steps.withdrawals import REFUSE

    after = "their lines still count; the state is now their only copy: keep it"
    _decide(settings, REFUSE, drops, why, who, after)


def _decide(settings: "Settings", action: str, drops: list[str] | None, why: str, who: str | None, after: str) -> None:
    """Record a decision about drops whose objects are missing."""
    from jobs.operations.quarantine import decide

    with looking(settings, datetime.now(UTC), read_only=False) as (now, warehouse):
        removed = _vanished(now)
        waiting = [item for item in removed if item.state == "missing"]
        chosen = [item for name in drops for item in _find(removed, name)] if drops else waiting
        if not chosen:
            raise UsageError(
                "no drop awaits a decision", "withdraw", "`marts withdraw list` lists drops with missing objects"
            )
        for item in chosen:
            decide(warehouse, item.drop, action, who or getpass.getuser(), why, stamp())
    names = ", ".join(item.drop.delivery.key for item in chosen)
    typer.echo(visible(f"{action}: {names}\n{after}", keep="\n"))


def _vanished(now: "Survey") -> "list[ResolvedDrop]":
    """Return the live drops of facts whose object is missing while no other has its name or its content."""
    from jobs.steps.resolve import may_be_withdrawn

    return [item for item in now.resolved.all if may_be_withdrawn(item)]


def _find(removed: "list[ResolvedDrop]", name: str) -> "list[ResolvedDrop]":
    """Return the drops with a key, the end of a key, or a delivery id. Several deliveries may have had the same key."""
    keys = [item.drop.delivery.key for item in removed]
    result = [v for v in removed if name in (v.drop.delivery.key, v.drop.delivery.id)] or [
        v for v in removed if v.drop.delivery.key.endswith(f"/{name}")
    ]
    if len({item.drop.delivery.key for item in result}) != 1:
        what = "matches several drops" if result else "is not a live drop whose object is missing"
        hint = f"choose from {', '.join(keys[:5])}" if keys else "no object of a live drop is missing"
        raise UsageError(what, name, hint)
    return result


@with_target
def accept_fall(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run that did not publish")],
    why: Why,
    settings: "Settings",
    who: Who = None,
) -> None:
    """Accept a fall of the total that stopped a run: the next build publishes."""
    from jobs.ports.records import Decision
    from jobs.report.run_report import RunReport
    from jobs.steps.fall import ACCEPT

    require_why(why)
    settings.require("target")
    with opened(settings) as warehouse:
        records = warehouse.runs_named([run])
        fall = RunReport.model_validate_json(records[0].report).fall if records else None
        if fall is None:
            what = "compared no totals" if records else "is not a run of this target"
            raise UsageError(what, run, "`marts status` lists the runs; a run that stopped this way has exit code 65")
        at = stamp()
        warehouse.decide(
            Decision(f"{at}-{run}", at, who or getpass.getuser(), ACCEPT, "run", run, run, why, fall.model_dump_json())
        )
    typer.echo(visible(f"accepted: the total up to {fall.as_of} may fall from {fall.before:,} to {fall.now:,}"))


@check.command("ids")
@with_settings
def check_ids(
    settings: "Settings",
    limit: Annotated[int, typer.Option(min=1, help="Number of ids to show")] = 20,
    as_json: Json = False,
    wide: Wide = False,
) -> None:
    """List transaction ids that are live in several transactions: under several owners, or in several months."""
    from jobs.cli import render_drops
    from jobs.steps.check_ids import check_ids as check_live

    with looking(settings, datetime.now(UTC)) as (now, _):
        shared = check_live(now.state, now.resolved.live_facts, now.identities, limit)
    if as_json:
        rows = [row for item in shared for row in item.largest]
        typer.echo(json.dumps({"ids": sum(item.count for item in shared), "shown": rows}, indent=2, default=str))
        return
    for item in shared:
        show(render_drops.shared_ids(item.identity.fact.name, item.count, item.largest), stdout=True, wide=wide)


def show_replaced(settings: "Settings", drop: str, limit: int, as_json: bool, wide: bool) -> None:
    """Show the lines that a drop replaced or that were replaced in it, next to those that count."""
    from jobs.cli import render_drops
    from jobs.operations.quarantine import find
    from jobs.steps.replaced import replaced_lines

    with looking(settings, datetime.now(UTC)) as (now, _):
        delivery = find(now, drop).delivery
        if delivery.kind not in now.identities:
            raise UsageError(f"is a drop of the dimension {delivery.kind}", delivery.key, "name a drop of a fact")
        key, identity = delivery.key, now.identities[delivery.kind]
        lines = replaced_lines(now.state, now.resolved.live_facts, key, identity)
    if as_json:
        typer.echo(
            json.dumps([{**line.values, "drop": line.drop, "fate": line.fate} for line in lines], indent=2, default=str)
        )
    else:
        show(render_drops.replaced(key, lines[:limit], len(lines)), stdout=True, wide=wide)
