"""`marts build`, `marts plan` and `marts status`."""

import json
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from jobs.cli.options import (
    Config,
    Folder,
    Json,
    LastDay,
    PackName,
    PolicyFile,
    Source,
    State,
    Stop,
    Target,
    Wide,
    configured,
    configured_policy,
    opened,
    run_id_of,
    show,
    show_tracebacks,
    with_settings,
    with_target,
)
from jobs.cli.progress import Debug, Quiet, Verbose, Voice, voice, watching
from marts.errors import MartsError

if TYPE_CHECKING:
    from jobs.config.settings import Settings
    from jobs.ports.warehouse import Warehouse
    from jobs.report.run_report import RunReport
    from marts.policy import Policy

MartName = Annotated[str | None, typer.Option(help="Build only this mart; `marts pack check` names them")]


def build(
    source: Source = None,
    target: Target = None,
    state: State = None,
    as_of: LastDay = None,
    config: Config = None,
    policy: PolicyFile = None,
    folder: Folder = None,
    mart: MartName = None,
    pack: PackName = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
    debug: Debug = False,
    rebuild: Annotated[bool, typer.Option(help="Rebuild everything from the drops")] = False,
    rescan: Annotated[bool, typer.Option(help="Scan drops again that were judged by older row rules")] = False,
    as_json: Json = False,
) -> None:
    """Bring the marts up to date with the drops and publish them."""
    _begin_to_judge()
    from jobs.cli import render

    flags = {
        "source": source,
        "target": target,
        "state": state,
        "as_of": as_of,
        "policy": policy,
        "mart": mart,
        "pack": pack,
    }
    settings = configured(config, **flags, expectations=folder)
    settings.require("source", "target")
    show_tracebacks(debug)
    speaks = voice(settings.log, verbose, quiet, debug)
    _check_first_build(settings)
    try:
        policy_ = configured_policy(settings)
        as_of_ = _as_of(settings, policy_)
    except MartsError as error:
        _refused(settings, error)
        raise
    report = run_build(settings, policy_, as_of_, speaks, rebuild, rescan)
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    elif speaks.shows_report or (report.exit_code and speaks.format == "text"):
        show(render.report(report))
    raise typer.Exit(report.exit_code)


@with_settings
def plan(
    settings: "Settings",
    as_json: Json = False,
    wide: Wide = False,
) -> None:
    """List which drops are new, replaced, duplicate or rejected, and which months change. Changes nothing."""
    from jobs.cli import render_drops
    from jobs.operations.survey import survey
    from jobs.steps.peek import months_that_change, peek
    from jobs.steps.resolve import is_vanished
    from marts.rows.source_block import number_of

    settings.require("source", "target")
    with opened(settings, read_only=True, create=True) as warehouse:  # also plan a first build
        now = survey(settings, configured_policy(settings), warehouse, datetime.now(UTC))
    built = peek(now.source, now.plan, now.settings)
    months = months_that_change(built)
    if as_json:
        drops = [
            {
                "kind": drop.delivery.kind,
                "key": drop.delivery.key,
                "change": drop.change,
                "duplicate_of": drop.duplicate_of,
                "rejected": drop.rejected,
                "held": drop.held,
                "months": drop.months,
                "block": number_of(drop.delivery.key, settings.sources),
            }
            for drop in built.drops
            if not (drop.gone or drop.superseded)
        ]
        removed = [item.drop.delivery.key for item in now.resolved.all if is_vanished(item)]
        displayed = {"drops": drops, "vanished": removed, "months_that_change": months, "no_data": built.no_data}
        typer.echo(json.dumps(displayed, indent=2))
    else:
        show(render_drops.plan(built, now.resolved, months, settings.sources), stdout=True, wide=wide)


@with_target
def status(
    settings: "Settings",
    runs: Annotated[int, typer.Option(min=1, help="Number of runs to show")] = 10,
    as_json: Json = False,
    wide: Wide = False,
) -> None:
    """Show the live marts and the last runs."""
    from jobs.cli import render

    settings.require("target")
    with opened(settings, read_only=True) as warehouse:
        live, last = warehouse.live(), warehouse.runs(runs)
        publications, generations = warehouse.publications(2), warehouse.generations()
    if as_json:
        displayed = {
            "live": {name: asdict(generation) for name, generation in live.items()},
            "publications": [[asdict(item) for item in publication] for publication in publications],
            "runs": [{**asdict(run), "report": json.loads(run.report)} for run in last],
        }
        typer.echo(json.dumps(displayed, indent=2))
    else:
        show(render.status(live, publications, generations, last, list(settings.domain.marts)), stdout=True, wide=wide)


def _as_of(settings: "Settings", policy: "Policy") -> date:
    from jobs.config.days import resolved

    return resolved(settings.as_of, datetime.now(ZoneInfo(policy.business_timezone)).date())


def _check_first_build(settings: "Settings") -> None:
    """Raise UsageError for a missing source folder, before a first build creates a DuckDB file and a state."""
    from jobs.adapters.store.open import open_store
    from jobs.config.settings import duckdb_path

    target = settings.target or ""
    if target.startswith("duckdb:") and not Path(duckdb_path(target)).exists():
        try:
            open_store(settings.source or "", settings.s3).require()
        except MartsError as error:
            if settings.notify.to or settings.notify.heartbeat:  # it may be unattended
                _refused(settings, error)
            raise


def _refused(settings: "Settings", error: MartsError) -> None:
    """Report a build that could not start."""
    from jobs.adapters.ray.cluster import own_submission
    from jobs.run.context import Request
    from jobs.run.lifecycle import refused
    from marts.policy import Policy

    now = datetime.now(UTC)
    refused(Request(settings, Policy(), now.date(), run_id_of(now), lambda: datetime.now(UTC), own_submission()), error)


def _begin_to_judge(wanted: bool = True) -> None:
    """Start the process that judges, before the settings are read: its imports take longer than a small build."""
    from jobs.adapters.great_expectations.process import judge

    if wanted:
        judge().begin()
    else:
        judge().end()


def run_build(
    settings: "Settings",
    policy: "Policy",
    as_of: date,
    speaks: Voice,
    rebuild: bool = False,
    rescan: bool = False,
) -> "RunReport":
    """Build once in this process and return the report."""
    _begin_to_judge(settings.quality.judge)
    from jobs.adapters.ray.cluster import Cluster, own_submission
    from jobs.run.context import Request, Run
    from jobs.run.lifecycle import run
    from jobs.run.runner import LocalFirstRunner

    def start() -> None:
        cluster.start()  # sets handlers of its own
        stop.listen()

    def make(warehouse: "Warehouse") -> Run:
        return Run(request, runner.run, warehouse, watch, start, runner.needs_cluster)

    stop = Stop()
    stop.listen()
    run_id = run_id_of(datetime.now(UTC))
    names = {"run_id": run_id, "as_of": as_of.isoformat()}
    with Cluster(settings.ray, names) as cluster, watching(speaks.bars, stop.check) as watch:
        runner = LocalFirstRunner(cluster, settings.ray)
        request = Request(
            *(settings, policy, as_of, run_id, lambda: datetime.now(UTC)), own_submission(), rebuild, rescan, cluster
        )
        with redirect_stdout(sys.stderr):  # Ray prints errors of its tasks on stdout, which is for --json
            return run(request, lambda: opened(settings, create=True), make)
