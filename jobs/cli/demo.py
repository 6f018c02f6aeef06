"""The demo: realistic drops, the marts in an embedded database, and the result. No server, no account."""

import json
import shutil
from collections.abc import Callable
from datetime import date
from functools import partial
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, cast

from rich.console import Group, RenderableType
from rich.text import Text

from jobs.cli import render
from jobs.config.packs import load_dashboard
from jobs.config.settings import CONFIG_FILE
from jobs.operations.views import top
from jobs.ports.warehouse import Warehouse
from jobs.report.run_report import RunReport
from marts.errors import UsageError
from marts.pack import Pack
from marts.packs import SHIPPED
from marts.policy import nearest

_SETTINGS = """\
# Settings of the demo, for commands in this folder. `marts init` writes a file with every option.
{pack}source = "./drops"
target = "duckdb://marts.duckdb"
as_of = {as_of}
"""
_TOP = 8
Generator = Callable[[Path, int, int, Callable[[], None]], dict[str, object]]
"""Writes drops under a folder: about as many lines, by a seed, and calls a function now and then."""


def generator(pack: str, days: int | None = None) -> Generator:
    """Return the generator of a shipped pack. Raise UsageError for another pack, or one without days."""
    if pack not in SHIPPED:
        raise UsageError(f"unknown pack {pack!r}{nearest(pack, SHIPPED)}", "--pack", f"known: {', '.join(SHIPPED)}")
    generate: Any = import_module(f"marts.{pack}.generate").generate
    if days is None:
        return cast(Generator, generate)
    if "days" not in signature(generate).parameters:
        raise UsageError(f"the drops of {pack} are of two years", "--days", "leave it out, or name --pack banking")
    return cast(Generator, partial(generate, days=days))


def prepare(
    folder: Path, lines: int, seed: int, progress: Callable[[], None], pack: str = "retail"
) -> tuple[dict[str, str], date]:
    """Generate the drops. Return the settings of the demo's build and its as_of.

    With the same lines and seed, a demo continues from an earlier one. With others it starts from scratch: its drops
    would replace all earlier ones, which a build does not accept as a normal change.
    """
    drops, mark = folder / "drops", folder / "demo.json"
    generate = generator(pack)
    earlier, own = _read(mark), {"lines": lines, "seed": seed, **({"pack": pack} if pack != "retail" else {})}
    if folder.exists() and any(folder.iterdir()) and earlier is None:
        what = "is not empty and was not created by an earlier demo"
        raise UsageError(what, str(folder), "choose another folder with --folder")
    if earlier not in (None, own):
        for path in ("_marts", "marts.duckdb.tmp"):
            shutil.rmtree(folder / path, ignore_errors=True)
        for path in ("marts.duckdb", "marts.duckdb.wal"):
            (folder / path).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(json.dumps(own) + "\n", encoding="utf-8")
    shutil.rmtree(drops, ignore_errors=True)
    truth = generate(drops, lines, seed, progress)
    as_of = date.fromisoformat(str(truth["as_of"]))
    if earlier != own or not (folder / CONFIG_FILE).exists():
        (folder / CONFIG_FILE).write_text(_SETTINGS.format(as_of=as_of, pack=_named(pack)), encoding="utf-8")
    target = f"duckdb://{(folder / 'marts.duckdb').absolute()}"
    return {"source": str(drops), "target": target, "pack": pack}, as_of


def _named(pack: str) -> str:
    """Return the line of the settings that names a pack; none for the default."""
    return f'pack = "{pack}"\n' if pack != "retail" else ""


def _read(mark: Path) -> object:
    """Return lines and seed of an earlier demo; None if it does not exist."""
    try:
        result: object = json.loads(mark.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result


def outcome(folder: Path, report: RunReport, warehouse: Warehouse, pack: Pack) -> RenderableType:
    """Render the result of the demo for a terminal."""
    return Group(
        render.report(report),
        Text(""),
        *(
            part
            for view in pack.views
            if view.top
            for part in (render.rows(top(warehouse, view, view.top, pack.marts[view.table], None, _TOP)), Text(""))
        ),
        _next(folder, pack),
    )


def _has_dashboard(pack: Pack) -> bool:
    try:
        return load_dashboard(pack) is not None
    except UsageError:  # its marts are left out
        return False


def _next(folder: Path, pack: Pack) -> Text:
    own = "marts init" if pack.name == "retail" else f"marts init --pack {pack.name}"
    asked = "  ask questions in a browser   marts serve\n" if _has_dashboard(pack) else ""
    return Text(
        f"next steps, after: cd {folder}\n"
        "  live marts and last runs     marts status\n"
        "  rows in quarantine           marts quarantine list\n"
        "  change or remove a drop      ls drops/*; marts plan; marts build\n"
        "  report of each run           _marts/reports/index.html\n"
        "  data quality                 _marts/docs/index.html\n"
        f"{asked}"
        f"  your own data                {own}, in another folder"
    )
