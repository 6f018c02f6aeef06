"""`marts …`: parse, call, render. Data goes to stdout, everything else to stderr."""

import getpass
import json
import os
import signal
import sys
import traceback
import uuid
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from zoneinfo import ZoneInfo

import typer

from jobs.cli.cluster import app as launch
from jobs.cli.cluster import submit, watchdog
from jobs.cli.decisions import accept_fall, check, show_replaced, withdraw
from jobs.cli.job import job
from jobs.cli.notify import app as notify
from jobs.cli.options import (
    Config,
    Json,
    PolicyFile,
    Source,
    State,
    Stop,
    Target,
    Who,
    configured,
    looking,
    opened,
    rendered,
    require_why,
    show,
    stamp,
)
from jobs.cli.pages import docs, report
from jobs.cli.progress import Debug, Quiet, Verbose, Voice, voice, watching
from jobs.cli.secrets import app as secrets
from jobs.cli.views import customers, sales
from jobs.config.settings import Log, Settings, load, load_policy
from jobs.runtime import logs
from jobs.runtime.escaping import visible
from jobs.runtime.scrub import scrub, scrub_logs, scrubbed
from marts import __version__
from marts.errors import DataError, Defect, MartsError, OutcomeUnknown, Stopped, UsageError

if TYPE_CHECKING:
    from jobs.ports.ledger import Warehouse
    from jobs.report.run_report import RunReport
    from marts.policy import Policy

app = typer.Typer(
    name="marts",
    help="Builds the Customers and the Sales Team data marts from CSV drops.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

quarantine = typer.Typer(
    help="Rows that break a rule: look at them, repair them, and put them back.", no_args_is_help=True
)
expectations = typer.Typer(help="The rules of data quality, in words.", no_args_is_help=True)
erase = typer.Typer(help="Take a person out of everything, for good.", no_args_is_help=True)
audit = typer.Typer(help="What people decided: who, when, what, why.", no_args_is_help=True)
app.command()(report)
app.command()(docs)
app.command()(submit)
app.command()(watchdog)
app.command()(job)
app.add_typer(launch, name="launch")
app.add_typer(customers, name="customers")
app.add_typer(sales, name="sales")
app.add_typer(quarantine, name="quarantine")
app.add_typer(withdraw, name="withdraw")
app.command("accept-fall")(accept_fall)
app.add_typer(check, name="check")
app.add_typer(erase, name="erase")
app.add_typer(audit, name="audit")
app.add_typer(expectations, name="expectations")
app.add_typer(notify, name="notify")
app.add_typer(secrets, name="secrets")

DropName = Annotated[str, typer.Argument(metavar="DROP", help="Key of the drop, or the end of it")]
Folder = Annotated[
    str | None,
    typer.Option("--expectations", metavar="DIR", help="Folder of suites; a file there wins over the shipped"),
]
AsOf = Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Lines after it are left out; today by default")]
MartName = Annotated[str | None, typer.Option(help="Build only this one: customers or sales_team")]


_debug = False
"""Show the traceback of an expected error, too."""
_RUNS = 1000
"""Runs that remember the end of the audit trail."""


def main(*arguments: str) -> None:
    """Run the command line; ``arguments`` go before those of the process. Ends with the exit code."""
    scrub_logs()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app([*arguments, *sys.argv[1:]], standalone_mode=True)
    except MartsError as error:
        _fail(error)
    except SystemExit as error:
        if error.code == signal.SIGTERM:  # the handler that Ray sets while it starts
            _fail(Stopped("SIGTERM").as_error())
        raise
    except Stopped as told:
        _fail(told.as_error())
    except Exception as error:  # noqa: BLE001 - the last resort: whatever is left is a defect, told as such
        if isinstance(error, OSError) and error.filename:
            _fail(UsageError(f"{error.strerror}", str(error.filename), "name another file or folder"))
        typer.echo(scrub(traceback.format_exc()), err=True)
        _fail(Defect(f"{type(error).__name__}: {error}", "marts", "please report it, with the lines above"))


def _debug_if(wanted: bool) -> None:
    """Show tracebacks from now on, if somebody wants them."""
    global _debug
    _debug = _debug or wanted


def _fail(error: MartsError) -> NoReturn:
    from jobs.cli.render import error as rendered

    if _debug:
        typer.echo(scrub("".join(traceback.format_exception(error))), err=True)
    error = scrubbed(error)
    if error.told and logs.speaks_json():
        sys.exit(error.exit_code)
    said, rest = rendered(error.what, error.where, error.hint).partition("\n")[::2]
    red = None if "NO_COLOR" in os.environ else "red"
    typer.secho(said, fg=red, err=True)
    if rest:
        typer.echo(rest, err=True)
    sys.exit(error.exit_code)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit")] = False,
    debug: Debug = False,
) -> None:
    _debug_if(debug)
    if version:
        typer.echo(f"martwright {__version__}")
        raise typer.Exit


@app.command()
def build(
    source: Source = None,
    target: Target = None,
    state: State = None,
    as_of: AsOf = None,
    config: Config = None,
    policy: PolicyFile = None,
    folder: Folder = None,
    mart: MartName = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
    debug: Debug = False,
    rebuild: Annotated[bool, typer.Option(help="Make everything again from the drops")] = False,
    rescan: Annotated[bool, typer.Option(help="Judge drops again that were judged by older row rules")] = False,
    as_json: Json = False,
) -> None:
    """Bring both marts up to date with the drops, and make them live."""
    flags = {"source": source, "target": target, "state": state, "as_of": as_of, "policy": policy, "mart": mart}
    settings = configured(config, **flags, expectations=folder)
    settings.require("source", "target")
    _debug_if(debug)
    speaks = voice(settings.log, verbose, quiet, debug)
    try:
        policy_ = load_policy(settings)
        as_of_ = _as_of(settings, policy_)
    except MartsError as error:
        _refused(settings, error)
        raise
    report = _build(settings, policy_, as_of_, speaks, rebuild, rescan)
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    elif speaks.shows_report or (report.error and speaks.format == "text"):
        show(rendered("report", report))
    raise typer.Exit(report.exit_code)


@app.command()
def plan(
    source: Source = None,
    target: Target = None,
    state: State = None,
    config: Config = None,
    policy: PolicyFile = None,
    as_json: Json = False,
) -> None:
    """Say which drops are new, replaced, duplicate or rejected, and which months change. Changes nothing."""
    from jobs.operations.survey import look
    from jobs.steps.plan import months_that_change, peek
    from jobs.steps.resolve import is_vanished

    settings = configured(config, source=source, target=target, state=state, policy=policy)
    settings.require("source", "target")
    with opened(settings, read_only=True, create=True) as warehouse:  # what the first build would do, too
        now = look(settings, load_policy(settings), warehouse, datetime.now(UTC))
    made = peek(now.source, now.plan, settings.csv.delimiter)
    months = months_that_change(made)
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
            }
            for drop in made.drops
            if not (drop.gone or drop.superseded)
        ]
        gone = [verdict.drop.delivery.key for verdict in now.verdicts.all if is_vanished(verdict)]
        shown = {"drops": drops, "vanished": gone, "months_that_change": months, "no_data": made.no_data}
        typer.echo(json.dumps(shown, indent=2))
    else:
        show(rendered("plan", made, now.verdicts, months), stdout=True)


@app.command()
def status(
    target: Target = None,
    config: Config = None,
    runs: Annotated[int, typer.Option(min=1, help="How many runs to show")] = 10,
    as_json: Json = False,
) -> None:
    """Show what is live, and the last runs."""
    from marts.schema import MARTS

    settings = configured(config, target=target)
    settings.require("target")
    with opened(settings, read_only=True) as warehouse:
        live, last = warehouse.live(), warehouse.runs(runs)
        publications, generations = warehouse.publications(2), warehouse.generations()
    if as_json:
        shown = {
            "live": {name: asdict(generation) for name, generation in live.items()},
            "publications": [[asdict(one) for one in publication] for publication in publications],
            "runs": [{**asdict(run), "report": json.loads(run.report)} for run in last],
        }
        typer.echo(json.dumps(shown, indent=2))
    else:
        show(rendered("status", live, publications, generations, last, list(MARTS)), stdout=True)


@app.command()
def history(
    drop: Annotated[str, typer.Argument(metavar="[DROP]", help="Key of a drop, or the end of it; all by default")] = "",
    replaced: Annotated[
        str | None, typer.Option(metavar="DROP", help="Show lines of this drop that others replaced, and both sides")
    ] = None,
    source: Source = None,
    target: Target = None,
    state: State = None,
    config: Config = None,
    policy: PolicyFile = None,
    limit: Annotated[int, typer.Option(min=1, help="How many events to show")] = 50,
    as_json: Json = False,
) -> None:
    """Say when each version of a drop came, and what became of it, in which run."""
    if replaced:
        places = {"source": source, "target": target, "state": state, "policy": policy}
        show_replaced(replaced, config, places, limit, as_json)
        return
    settings = configured(config, target=target)
    settings.require("target")
    with opened(settings, read_only=True) as warehouse:
        events = warehouse.history(drop, limit)
        decisions = [one for one in warehouse.decisions() if one.object_key.endswith(drop)]
    if drop and not events:
        raise UsageError("no run has seen such a drop", drop, "`marts history` shows the last ones that runs have seen")
    if as_json:
        told = {"drops": [asdict(event) for event in events], "decisions": [asdict(one) for one in decisions]}
        typer.echo(json.dumps(told, indent=2))
    else:
        show(rendered("history", events, decisions), stdout=True)


@app.command()
def rollback(
    why: Annotated[str, typer.Option(help="For the audit trail")] = "",
    who: Who = None,
    target: Target = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make the marts of the publication before live again, at once. Again, and it goes forward."""
    from jobs.ports.ledger import Rollback

    settings = configured(config, target=target)
    settings.require("target")
    with opened(settings) as warehouse:
        warehouse.prepare()
        by = Rollback(f"rollback-{_run_id(datetime.now(UTC))}", stamp(), who or getpass.getuser(), why)
        try:
            live = warehouse.rollback(by)
        except OutcomeUnknown as error:
            hint = "look at `marts status` before you go back again: again, and it goes forward"
            raise OutcomeUnknown(error.what, error.where, hint) from error
    if as_json:
        typer.echo(json.dumps([asdict(generation) for generation in live], indent=2))
    else:
        show(rendered("rolled_back", live), stdout=True)


@app.command()
def vacuum(
    source: Source = None,
    target: Target = None,
    state: State = None,
    config: Config = None,
    policy: PolicyFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed")] = False,
    as_json: Json = False,
) -> None:
    """Remove from the state, and from the database, what no live drop and no kept generation needs."""
    from jobs.operations.vacuum import find_waste, remove

    settings = configured(config, source=source, target=target, state=state, policy=policy)
    by = "" if dry_run else f"vacuum-{_run_id(datetime.now(UTC))}"
    with looking(settings, datetime.now(UTC), read_only=False, locked=True, by=by) as (now, warehouse):
        waste, manifests = find_waste(now, warehouse, settings.limits.rollup_lines)
        if not dry_run:
            warehouse.check_fence(by)
            remove(now, waste, manifests)
            warehouse.clean_up(by)
    folders = waste.by_folder()
    if as_json:
        names = ("folder", "files", "bytes")
        removed = [dict(zip(names, row, strict=True)) for row in folders]
        typer.echo(json.dumps({"removed": removed, "kept_files": waste.kept, "dry_run": dry_run}, indent=2))
    else:
        show(rendered("vacuumed", folders, waste.kept, dry_run), stdout=True)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write marts.toml and policy.toml")] = Path(),
) -> None:
    """Write a commented marts.toml, and a policy.toml, to start from."""
    from jobs.operations.scaffold import write

    for path in write(folder):
        typer.echo(f"wrote {path}")


@app.command()
def generate(
    folder: Annotated[Path, typer.Argument(help="Where to write the drops")],
    lines: Annotated[int, typer.Option(min=1000, help="Sales lines")] = 500_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes")] = 7,
) -> None:
    """Make realistic drops to try things out on."""
    from jobs.operations.generate import generate as make

    if folder.exists() and any(folder.iterdir()):
        raise UsageError("is not empty", str(folder), "choose another folder, or remove it first")
    truth = make(folder, lines, seed)
    typer.echo(f"wrote {truth['lines']:,} sales lines under {folder}; generated.json there says what is in them")


@app.command()
def demo(
    lines: Annotated[int, typer.Option(min=1000, help="Sales lines")] = 500_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same result")] = 7,
    folder: Annotated[Path, typer.Option(help="Where to work")] = Path("marts-demo"),
) -> None:
    """Make drops, build both marts into an embedded database, and show what came out."""
    from jobs.cli import demo as showing
    from marts.policy import Policy

    speaks = voice(Log(format="text"))
    with watching(speaks.bars) as watch:
        watch.begin("generate drops", 0)
        flags, as_of = showing.prepare(folder, lines, seed, watch.advance)
    settings = load(None, flags)
    report = _build(settings, Policy(), as_of, speaks)
    if report.error:
        show(rendered("report", report), stdout=True)
    else:
        with opened(settings, read_only=True) as warehouse:
            show(showing.outcome(folder, report, warehouse), stdout=True)
    raise typer.Exit(report.exit_code)


@app.command()
def doctor(
    source: Source = None,
    target: Target = None,
    state: State = None,
    config: Config = None,
    policy: PolicyFile = None,
    as_json: Json = False,
) -> None:
    """Check versions, storage, database rights and Ray, and say for each failure what to do."""
    from jobs.operations.doctor import examine

    settings = configured(config, source=source, target=target, state=state, policy=policy)
    found = list(examine(settings))
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in found], indent=2))
    else:
        show(rendered("checks", [(check.what, check.ok, check.text) for check in found]), stdout=True)
    raise typer.Exit(next((check.exit_code or 69 for check in found if not check.ok), 0))


@quarantine.command("list")
def quarantine_list(
    source: Source = None,
    target: Target = None,
    state: State = None,
    config: Config = None,
    policy: PolicyFile = None,
    as_json: Json = False,
) -> None:
    """List the live drops with rows in quarantine, and those that are held."""
    from jobs.operations.quarantine import remarks, with_rows

    settings = configured(config, source=source, target=target, state=state, policy=policy)
    with looking(settings, datetime.now(UTC)) as (now, _):
        drops = with_rows(now)
    for remark in remarks(now):
        typer.echo(f"note: {remark}", err=True)
    if as_json:
        found = [
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
        typer.echo(json.dumps(found, indent=2))
    else:
        show(rendered("quarantine", drops), stdout=True)


@quarantine.command("show")
def quarantine_show(
    drop: DropName,
    source: Source = None,
    target: Target = None,
    state: State = None,
    config: Config = None,
    policy: PolicyFile = None,
    limit: Annotated[int, typer.Option(min=1, help="How many rows to show")] = 20,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show personal data too")] = False,
    as_json: Json = False,
) -> None:
    """Show the rows of a drop that are in quarantine: line, every reason, and the row as it stands."""
    from jobs.operations.quarantine import find_published, rows_of, shown

    settings = configured(config, source=source, target=target, state=state, policy=policy)
    with looking(settings, datetime.now(UTC)) as (now, _):
        found = find_published(now, drop)
        rows = rows_of(now, found)
    seen = [(row.line, list(row.reasons), row.raw if reveal else shown(now, found, row)) for row in rows[:limit]]
    if as_json:
        names = ("line", "reasons", "raw")
        typer.echo(json.dumps([dict(zip(names, row, strict=True)) for row in seen], indent=2))
    else:
        show(rendered("bad_rows", found, seen, len(rows)), stdout=True)


@quarantine.command("export")
def quarantine_export(
    drop: DropName,
    source: Source = None,
    target: Target = None,
    state: State = None,
    config: Config = None,
    policy: PolicyFile = None,
    to: Annotated[Path | None, typer.Option(help="File to write; stdout by default")] = None,
) -> None:
    """Write the rows of a drop that are in quarantine as CSV, unmasked, to repair and replay them."""
    from jobs.operations.quarantine import export, find_published

    settings = configured(config, source=source, target=target, state=state, policy=policy)
    with looking(settings, datetime.now(UTC)) as (now, _):
        text = export(now, find_published(now, drop))
    if to is None:
        typer.echo(visible(text, keep="\n") if sys.stdout.isatty() else text, nl=False)
        return
    to.write_text(text, encoding="utf-8")
    typer.echo(visible(f"wrote {to}; repair it, then: marts quarantine replay {drop} {to}"), err=True)


@quarantine.command("replay")
def quarantine_replay(
    drop: DropName,
    file: Annotated[
        Path | None, typer.Argument(help="A repaired export; without, the rows are judged as they are")
    ] = None,
    source: Source = None,
    target: Target = None,
    state: State = None,
    config: Config = None,
    policy: PolicyFile = None,
    who: Who = None,
    why: Annotated[str, typer.Option(help="For the audit trail")] = "",
) -> None:
    """Put repaired rows back into their drop, or those that changed rules now accept. The next build counts them."""
    from jobs.operations.quarantine import decide, find, replay

    settings = configured(config, source=source, target=target, state=state, policy=policy)
    with looking(settings, datetime.now(UTC), read_only=False) as (now, warehouse):
        found = find(now, drop)
        done, texts = replay(now, found, file.read_bytes() if file else None)
        if texts:
            lines = {str(line): text for line, text in texts.items()}
            decide(warehouse, found, "repair", who or getpass.getuser(), why, stamp(), lines)
    show(rendered("replayed", found.delivery.key, done.clean, done.wrong), stdout=True)
    raise typer.Exit(0 if texts else DataError.exit_code)


@quarantine.command("accept")
def quarantine_accept(
    drop: DropName,
    why: Annotated[str, typer.Option(help="For the audit trail")],
    source: Source = None,
    target: Target = None,
    state: State = None,
    config: Config = None,
    policy: PolicyFile = None,
    who: Who = None,
) -> None:
    """Release a drop that is held: its clean rows count from the next build on, its bad rows stay in quarantine."""
    from jobs.operations.quarantine import decide, find, require_held
    from jobs.steps.repair import HELD

    require_why(why)
    settings = configured(config, source=source, target=target, state=state, policy=policy)
    with looking(settings, datetime.now(UTC), read_only=False) as (now, warehouse):
        found = find(now, drop)
        require_held(found)
        made = decide(warehouse, found, "accept", who or getpass.getuser(), why, stamp(), {HELD: found.held})
    said = (
        f"accepted {made.object_key}, by {made.who}: {why}\nwas held: {found.held}\nmarts build counts its clean rows"
    )
    typer.echo(visible(said, keep="\n"))


@erase.command("customer")
def erase_customer(
    customer: Annotated[int, typer.Argument(metavar="ID", min=1, help="The customer_id")],
    why: Annotated[str, typer.Option(help="For the audit trail, such as the number of the request; no name")],
    source: Source = None,
    target: Target = None,
    state: State = None,
    config: Config = None,
    policy: PolicyFile = None,
    who: Who = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; this cannot be undone")] = False,
) -> None:
    """Erase a customer: from lines, quarantine, marts, kept generations, pages and reports, and from later builds."""
    from jobs.adapters.store import open_store
    from jobs.operations import erase as erasing
    from jobs.report.run_pages import write_again
    from jobs.report.run_records import adopt_waiting, recent_reports
    from jobs.run.lifecycle import docs_of

    settings = configured(config, source=source, target=target, state=state, policy=policy)
    if not yes:
        typer.confirm(f"Erase customer {customer} for good?", abort=True, err=True)
    with looking(
        settings, datetime.now(UTC), read_only=False, locked=True, by=f"erase-{_run_id(datetime.now(UTC))}"
    ) as (now, warehouse):
        at = stamp()
        adopt_waiting(now.state, warehouse)
        made, person = erasing.erasure_of(warehouse, customer, at, os.urandom(16).hex())
        traces = erasing.find_traces(now, customer)
        # The ledger last: an erasure that is killed before has not happened, and is made again as a whole.
        texts = erasing.clean_ledger(now, warehouse, customer)
        files = erasing.remove(now, traces, open_store(settings.docs_uri, settings.s3), person)
        reports = open_store(settings.reports_uri, settings.s3)
        write_again(reports, recent_reports(warehouse), docs_of(settings))
        rows = warehouse.erase(made, customer, erasing.deed(person.number, at, who or getpass.getuser(), why))
    counted = f"{rows} rows of the marts, {files} files of the state, {texts} reports"
    typer.echo(f"erased, as number {person.number}: {counted}")
    if traces.only_copies:
        gone = erasing.drops_text(sorted({manifest.delivery.key for manifest in traces.only_copies}))
        typer.echo(visible(f"rewritten in the state, which is the only copy: {gone}"))
    if traces.drops:
        said = f"still in drops, which are yours to correct or remove: {erasing.drops_text(traces.drops)}"
        typer.echo(visible(f"{said}\nmarts build makes the files again, without the customer", keep="\n"))


@audit.command("list")
def audit_list(target: Target = None, config: Config = None, as_json: Json = False) -> None:
    """List what people decided, oldest first."""
    settings = configured(config, target=target)
    settings.require("target")
    with opened(settings, read_only=True) as warehouse:
        entries = warehouse.audit()
    if as_json:
        typer.echo(json.dumps([asdict(entry) for entry in entries], indent=2))
    else:
        show(rendered("audit", entries), stdout=True)


@audit.command("verify")
def audit_verify(
    target: Target = None,
    config: Config = None,
    head: Annotated[str, typer.Option(help="Hash of an entry that you have noted elsewhere")] = "",
) -> None:
    """Say whether an entry was changed, removed or cut off since it was written."""
    from jobs.ports.audit import BEGIN, broken

    settings = configured(config, target=target)
    settings.require("target")
    with opened(settings, read_only=True) as warehouse:
        entries = warehouse.audit()
        seen = [json.loads(run.report).get("audit", "") for run in warehouse.runs(_RUNS)]
    wrong = broken(entries, [one for one in (head, *seen) if one])
    if wrong:
        raise DataError(wrong, "audit trail", "compare it with a backup of the database")
    last = entries[-1].hash if entries else BEGIN
    typer.echo(f"{len(entries)} entries, none was changed, removed or cut off; note this elsewhere: {last}")


@expectations.command("list")
def expectations_list(
    name: Annotated[
        str | None, typer.Argument(help="sales, customers, …, customers_data_mart, …; all by default")
    ] = None,
    config: Config = None,
    policy: PolicyFile = None,
    folder: Folder = None,
    types: Annotated[bool, typer.Option("--types", help="List what can be asked instead, with its arguments")] = False,
    as_json: Json = False,
) -> None:
    """Say each rule in words: its severity, what it looks at, and who asks for it."""
    from jobs.config.suites import check_suites
    from marts.quality.rules import type_words

    if types:
        show(rendered("rule_types", type_words()), stdout=True)
        return
    settings = configured(config, policy=policy, expectations=folder)
    suites = check_suites(settings.expectations, load_policy(settings))
    if name is not None and name not in suites:
        raise UsageError(f"there is no suite {name!r}", "expectations", f"there are {', '.join(suites)}")
    wanted = [suite for key, suite in suites.items() if name in (None, key)]
    if as_json:
        found = [
            {"suite": suite.name, **rule.entry(), "words": rule.words, "level": rule.level, "contract": rule.contract}
            for suite in wanted
            for rule in suite.rules
        ]
        typer.echo(json.dumps(found, indent=2, default=str))
    else:
        show(rendered("suites", wanted), stdout=True)


@expectations.command("check")
def expectations_check(config: Config = None, policy: PolicyFile = None, folder: Folder = None) -> None:
    """Check every suite against the columns, and let Great Expectations plan it. Names what cannot run."""
    from jobs.config.suites import check_suites

    settings = configured(config, policy=policy, expectations=folder)
    suites = check_suites(settings.expectations, load_policy(settings))
    from jobs.steps.quality import plan_suites

    for suite, metrics in plan_suites(suites.values()):
        typer.echo(f"ok {suite.name}: {len(suite.rules)} rules, {metrics} metrics")


@expectations.command("add")
def expectations_add(
    name: Annotated[str, typer.Argument(help="sales, customers, stores, sales_team, products, or …_data_mart")],
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="such as expect_column_values_to_be_between")],
    arguments: Annotated[
        list[str], typer.Option("--set", metavar="NAME=VALUE", help="One argument; VALUE is JSON or text")
    ],
    severity: Annotated[str, typer.Option(help="critical, warning or info")] = "warning",
    description: Annotated[str | None, typer.Option(help="Said instead of the generated words")] = None,
    config: Config = None,
    policy: PolicyFile = None,
    folder: Folder = None,
) -> None:
    """Add one rule to a suite in your folder; it is checked before it is written."""
    from jobs.operations.suites import add, parse_arguments

    settings = configured(config, policy=policy, expectations=folder)
    entry: dict[str, Any] = {"type": type_, "kwargs": parse_arguments(arguments), "severity": severity}
    if description:
        entry["description"] = description
    path = add(name, entry, settings.expectations, load_policy(settings))
    typer.echo(f"added to {path}; changed rules apply to new drops, and to the others with marts build --rescan")


def _run_id(moment: datetime) -> str:
    return f"{moment:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"


def _as_of(settings: Settings, policy: "Policy") -> date:
    return settings.as_of or datetime.now(ZoneInfo(policy.business_timezone)).date()


def _refused(settings: Settings, error: MartsError) -> None:
    """Tell people of a build that could not begin."""
    from jobs.adapters.ray.cluster import own_submission
    from jobs.run.lifecycle import Order, refused
    from marts.policy import Policy

    now = datetime.now(UTC)
    refused(Order(settings, Policy(), now.date(), _run_id(now), lambda: datetime.now(UTC), own_submission()), error)


def _build(
    settings: Settings,
    policy: "Policy",
    as_of: date,
    speaks: Voice,
    rebuild: bool = False,
    rescan: bool = False,
) -> "RunReport":
    from jobs.adapters.ray.cluster import Cluster, own_submission
    from jobs.run.lifecycle import Order, run
    from jobs.run.pipeline import Run
    from jobs.run.runner import Near

    def start() -> None:
        cluster.start()  # sets handlers of its own
        stop.listen()

    def make(warehouse: "Warehouse") -> Run:
        return Run(
            settings=settings,
            policy=policy,
            as_of=as_of,
            run_id=run_id,
            clock=lambda: datetime.now(UTC),
            runner=near.run,
            start=start,
            needs_start=near.needs_cluster,
            warehouse=warehouse,
            progress=watch,
            submission=submission,
            rebuild=rebuild,
            rescan=rescan,
        )

    stop = Stop()
    stop.listen()
    run_id = _run_id(datetime.now(UTC))
    submission = own_submission()
    names = {"run_id": run_id, "as_of": as_of.isoformat()}
    with Cluster(settings.ray, names) as cluster, watching(speaks.bars, stop.check) as watch:
        near = Near(cluster, settings.ray)
        order = Order(settings, policy, as_of, run_id, lambda: datetime.now(UTC), submission, cluster)
        return run(order, lambda: opened(settings, create=True), make)
