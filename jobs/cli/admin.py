"""`marts init`, `generate`, `demo`, `doctor`, `vacuum` and `erase`."""

import getpass
import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.build import run_build
from jobs.cli.options import (
    Generated,
    Json,
    PackName,
    Who,
    configured,
    looking,
    opened,
    run_id_of,
    show,
    stamp,
    with_settings,
)
from jobs.cli.progress import voice, watching
from jobs.cli.serve import serve_pages
from jobs.runtime.escaping import visible
from marts.errors import UsageError

if TYPE_CHECKING:
    from jobs.config.settings import Settings
    from marts.pack import PersonId
    from marts.subject import Subject

erase = typer.Typer(help="Erase a person permanently.", no_args_is_help=True)


@with_settings
def vacuum(
    settings: "Settings",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed")] = False,
    as_json: Json = False,
) -> None:
    """Remove data from the state and the database that no live drop and no kept generation needs."""
    from jobs.cli import render
    from jobs.operations.vacuum import find_waste, remove

    by = "" if dry_run else f"vacuum-{run_id_of(datetime.now(UTC))}"
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
        show(render.vacuumed(folders, waste.kept, dry_run), stdout=True)


def init(
    folder: Annotated[Path, typer.Argument(help="Folder for marts.toml and policy.toml")] = Path(),
    origin: Annotated[
        str | None,
        typer.Option("--from", metavar="URI", help="Folder or s3://bucket/prefix of drops to look at"),
    ] = None,
    pack: PackName = None,
) -> None:
    """Write marts.toml and policy.toml, with a comment on every option. With --from, propose how the files are read."""
    from jobs.config.packs import load_pack
    from jobs.config.settings import Settings
    from jobs.operations.scaffold import write

    domain = load_pack(pack or Settings.model_fields["pack"].default)
    if origin is None:
        for path in write(folder, domain, pack or ""):
            typer.echo(f"wrote {path}")
        typer.echo("next: set source and target in marts.toml, then run `marts doctor` and `marts build`", err=True)
        return
    from jobs.cli.render_sources import proposals
    from jobs.operations.propose import as_text, propose_blocks, rule_of
    from marts.policy import Policy

    origin = origin if "://" in origin else str(Path(origin).absolute())
    blocks = propose_blocks(configured(None, source=origin, pack=pack), Policy(), origin)
    for path in write(folder, domain, pack or "", origin, as_text(blocks), rule_of(blocks)):
        typer.echo(f"wrote {path}")
    show(proposals(blocks))
    typer.echo("next: read the blocks at the end of marts.toml, then run `marts build`", err=True)


def generate(
    folder: Annotated[Path, typer.Argument(help="Folder for the drops")],
    lines: Annotated[int, typer.Option(min=1000, help="Lines")] = 500_000,
    seed: Annotated[int, typer.Option(help="Random seed; the same seed writes the same bytes")] = 7,
    like: Annotated[
        str | None,
        typer.Option(
            help="Files as another system writes them: german-excel, us-export, sap, shop-orders, warehouse-unload"
        ),
    ] = None,
    pack: Generated = "retail",
    days: Annotated[int | None, typer.Option(min=1, help="Days that the lines are spread over, of banking")] = None,
) -> None:
    """Write realistic sample drops."""
    if folder.exists() and any(folder.iterdir()):
        raise UsageError("is not empty", str(folder), "choose another folder or remove it first")
    if like:
        if pack != "retail":
            raise UsageError("is of the retail pack", "--like", "leave out --like or --pack")
        from marts.retail.companies import generate_like

        generate_like(folder, like, lines, seed)
        typer.echo(f"wrote {lines:,} lines under {folder}, as {like} does")
        typer.echo(f"next: marts init --from {folder}, then marts build", err=True)
        return
    from jobs.cli.demo import generator

    truth = generator(pack, days)(folder, lines, seed, lambda: None)
    typer.echo(f"wrote {truth['lines']:,} lines under {folder}; {folder}/generated.json describes them")
    named = f" --pack {pack}" if pack != "retail" else ""
    places = f"--source {folder} --target duckdb://marts.duckdb --as-of {truth['as_of']}"
    typer.echo(f"next: marts build{named} {places}", err=True)


def demo(
    lines: Annotated[int, typer.Option(min=1000, help="Lines")] = 500_000,
    seed: Annotated[int, typer.Option(help="Random seed; the same seed builds the same marts")] = 7,
    folder: Annotated[Path, typer.Option(help="Folder for drops, state and database")] = Path("marts-demo"),
    pack: Generated = "retail",
    serve_: Annotated[bool, typer.Option("--serve", help="Then serve its dashboard until Ctrl-C")] = False,
) -> None:
    """Generate drops, build the marts of a shipped pack into an embedded database, and print the result."""
    from jobs.cli import demo as showing
    from jobs.cli import render
    from jobs.config.settings import Log
    from marts.policy import Policy

    speaks = voice(Log(format="text"))
    with watching(speaks.bars) as watch:
        watch.begin("generate drops", 0)
        flags, as_of = showing.prepare(folder, lines, seed, watch.advance, pack)
    settings = configured(None, **flags)
    report = run_build(settings, Policy(), as_of, speaks)
    if report.error:
        show(render.report(report), stdout=True)
    else:
        with opened(settings, read_only=True) as warehouse:
            show(showing.outcome(folder, report, warehouse, settings.domain), stdout=True)
    if serve_ and not report.error:
        serve_pages(settings)
    raise typer.Exit(report.exit_code)


@with_settings
def doctor(
    settings: "Settings",
    as_json: Json = False,
    serve_: Annotated[bool, typer.Option("--serve", help="Check what `marts serve` needs instead")] = False,
) -> None:
    """Check versions, storage, database privileges and Ray, with a hint for each failure."""
    from jobs.cli import render
    from jobs.operations.doctor import examine, examine_pages

    results = list(examine_pages(settings) if serve_ else examine(settings))
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in results], indent=2))
    else:
        show(render.checks([(check.what, check.ok, check.text) for check in results]), stdout=True)
    raise typer.Exit(next((check.exit_code or 69 for check in results if not check.ok), 0))


def _person_id(written: str, subject: "Subject") -> "PersonId":
    """Return the id of a person as clean rows have it. Raise UsageError for one that cannot be."""
    bare = written.strip()
    if subject.has_text_ids:
        if bare:
            return bare
    elif bare.isascii() and bare.isdigit() and int(bare):
        return int(bare)
    what = "an id has at least one character" if subject.has_text_ids else f"{written!r} is not a whole number above 0"
    raise UsageError(what, subject.key, 'with ids = "text" in marts.toml, ids are texts')


@erase.command("customer")
@erase.command("person")
@with_settings
def erase_person(
    written: Annotated[str, typer.Argument(metavar="ID", help="The id in the column that the pack names")],
    why: Annotated[str, typer.Option(help="Reason for the audit trail, such as a request number; no name")],
    settings: "Settings",
    who: Who = None,
    yes: Annotated[bool, typer.Option("--yes", help="Skip the confirmation; this cannot be undone")] = False,
) -> None:
    """Erase a person from lines, quarantine, marts, kept generations, pages, reports and later builds."""
    from jobs.adapters.store.open import open_store
    from jobs.operations import erase as erasing
    from jobs.report.places import docs_of
    from jobs.report.run_pages import write_again
    from jobs.report.run_records import adopt_waiting, recent_reports

    subject = settings.domain.subject
    if subject is None:
        raise UsageError("this pack has no people who could be erased", "pack", "set subject in its pack.toml")
    customer = _person_id(written, subject)
    if not yes:
        typer.confirm(f"Erase {subject.key} {customer} permanently?", abort=True, err=True)
    with looking(
        settings, datetime.now(UTC), read_only=False, locked=True, by=f"erase-{run_id_of(datetime.now(UTC))}"
    ) as (now, warehouse):
        at = stamp()
        adopt_waiting(now.state, warehouse)
        built, person = erasing.erasure_of(warehouse, customer, at, os.urandom(16).hex(), subject)
        traces = erasing.find_traces(now, customer)
        # The ledger records the erasure last: one that is killed earlier has not happened and is repeated as a whole.
        texts = erasing.clean_ledger(now, warehouse, customer)
        files = erasing.remove(now, traces, open_store(settings.docs_uri, settings.s3), person)
        reports = open_store(settings.reports_uri, settings.s3)
        write_again(reports, recent_reports(warehouse), docs_of(settings))
        rows = warehouse.erase(built, customer, erasing.event(person.number, at, who or getpass.getuser(), why))
    counted = f"{rows} rows of the marts, {files} files of the state, {texts} reports"
    typer.echo(f"erased, as number {person.number}: {counted}")
    if built and not (rows or traces.drops or traces.manifests):
        note = f"{customer} is in no drop and no mart: check the id; later drops with it are masked"
        typer.echo(f"note: {note}", err=True)
    if traces.only_copies:
        vanished = erasing.drops_text(sorted({manifest.delivery.key for manifest in traces.only_copies}))
        typer.echo(visible(f"rewritten in the state, the only copy: {vanished}"))
    if traces.drops:
        message = "\n  ".join(["still in drops, correct or remove them:", *map(visible, traces.drops)])
        typer.echo(f"{message}\nthe next marts build rebuilds the files without the person")
