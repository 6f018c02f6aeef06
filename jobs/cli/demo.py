"""The demo: realistic drops, both marts in an embedded database, and the result. No server, no account."""

import json
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from jobs.cli import render
from jobs.config.settings import CONFIG_FILE
from jobs.operations.views import top
from jobs.ports.warehouse import Warehouse
from jobs.report.run_report import RunReport
from marts.errors import UsageError
from marts.pack import Pack
from marts.retail.generate import generate

_SETTINGS = """\
# Settings of the demo, for commands in this folder. `marts init` writes a file with every option.
source = "./drops"
target = "duckdb://marts.duckdb"
as_of = {as_of}
"""
_TOP = 8


def prepare(folder: Path, lines: int, seed: int, progress: Callable[[], None]) -> tuple[dict[str, str], date]:
    """Generate the drops. Return the settings of the demo's build and its as_of.

    With the same lines and seed, a demo continues from an earlier one. With others it starts from scratch: its drops
    would replace all earlier ones, which a build does not accept as a normal change.
    """
    drops, mark = folder / "drops", folder / "demo.json"
    earlier, own = _read(mark), {"lines": lines, "seed": seed}
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
        (folder / CONFIG_FILE).write_text(_SETTINGS.format(as_of=as_of), encoding="utf-8")
    target = f"duckdb://{(folder / 'marts.duckdb').absolute()}"
    return {"source": str(drops), "target": target}, as_of


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
        _next(folder),
    )


def _next(folder: Path) -> Text:
    return Text(
        f"next steps, after: cd {folder}\n"
        "  live marts and last runs     marts status\n"
        "  rows in quarantine           marts quarantine list\n"
        "  change or remove a drop      ls drops/*; marts plan; marts build\n"
        "  report of each run           _marts/reports/index.html\n"
        "  data quality                 _marts/docs/index.html\n"
        "  your own data                marts init, in another folder"
    )
