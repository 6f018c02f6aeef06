"""`marts pack …`: the domains that are known, and whether one fits together."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.help import GROUPS
from jobs.cli.options import Config, Json, PolicyFile, Wide, configured, configured_policy, show
from marts.errors import UsageError

if TYPE_CHECKING:
    from marts.pack import Pack

pack = typer.Typer(help="Packs: the drops and tables of a domain, as one folder.", no_args_is_help=True)


@pack.command("list")
def pack_list(as_json: Json = False, wide: Wide = False) -> None:
    """List the shipped packs."""
    from jobs.cli import render
    from marts.packs import SHIPPED, shipped

    packs = [shipped(name) for name in SHIPPED]
    if as_json:
        rows = [{"name": item.name, "about": item.about, "drops": list(item.kinds)} for item in packs]
        typer.echo(json.dumps(rows, indent=2))
        return
    names = ("pack", "drops", "marts", "about")
    tables = [
        (item.name, ", ".join(item.kinds), ", ".join(mart.table for mart in item.marts.values()), item.about)
        for item in packs
    ]
    show(render.table("packs", names, tables, optional=(3,)), stdout=True, wide=wide)


@pack.command("new")
def pack_new(folder: Annotated[Path, typer.Argument(help="Folder of the pack; its name is that of the pack")]) -> None:
    """Write a pack that builds, with example drops: a folder to begin with."""
    from jobs.operations.new_pack import write

    for path in write(folder):
        typer.echo(f"wrote {path}")
    options = f"--pack {folder} --source {folder}/example --target duckdb://{folder}.duckdb"
    typer.echo(f"next: marts pack check {folder}, then marts build {options}", err=True)


@pack.command("check")
def pack_check(
    name: Annotated[str | None, typer.Argument(metavar="NAME|FOLDER", help="By default the pack of marts.toml")] = None,
    config: Config = None,
    policy: PolicyFile = None,
    as_json: Json = False,
    wide: Wide = False,
) -> None:
    """Check a pack: its SQL against empty tables, names and types of columns, suites. Names what does not fit."""
    from jobs.cli import render
    from jobs.config.packs import load_dashboard, load_pack, load_report
    from jobs.config.suites import check_suites
    from jobs.pages.month_source import check_queries
    from marts.compute.check import check_pack

    settings = configured(config, pack=name, policy=policy)
    numbers = configured_policy(settings)
    tables = list(check_pack(settings.domain, numbers))
    suites = check_suites(settings.domain, settings.expectations, numbers)
    _require_free_names(settings.domain)
    own = load_pack(settings.pack)
    dashboard = load_dashboard(own)
    report = load_report(own, dashboard) if dashboard else None
    if report:
        check_queries(own, *report)
    if as_json:
        rows = [asdict(table) for table in tables]
        checked = {"pack": settings.domain.name, "tables": rows, "suites": list(suites), "dashboard": bool(dashboard)}
        checked["report"] = bool(report)
        typer.echo(json.dumps(checked, indent=2))
        return
    rows_ = [(table.name, table.per, table.publishes, len(table.columns)) for table in tables]
    title = f"pack {settings.domain.name}: all fits"
    show(render.table(title, ("table", "per", "publishes", "columns"), rows_, right=(3,)), stdout=True, wide=wide)


def _require_free_names(pack: "Pack") -> None:
    """Raise UsageError for a view, or a command of the views, with the name of another command: that one would run."""
    commands = {name for names in GROUPS.values() for name in names}
    own = {pack.command: "command"} if pack.command else {view.name: f"views.{view.name}" for view in pack.views}
    for name, where in own.items():
        if name in commands:
            raise UsageError(f"`marts {name}` is another command", where, "choose another name")
