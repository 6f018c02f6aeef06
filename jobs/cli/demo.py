"""The demo: realistic drops, both marts in an embedded file, and what came out. No server, no account."""

import json
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from jobs.cli import render
from jobs.operations.generate import generate
from jobs.operations.views import leaders, top_customers
from jobs.ports.warehouse import Warehouse
from jobs.report.run_report import RunReport
from marts.errors import UsageError

_TOP = 8


def prepare(folder: Path, lines: int, seed: int, progress: Callable[[], None]) -> tuple[dict[str, str], date]:
    """Make the drops; return the settings of the demo's build, and its as_of.

    With the same lines and seed, a demo goes on with what an earlier one built. With others it starts anew: its drops
    would replace all those of before, which no build takes for a day's work.
    """
    drops, mark = folder / "drops", folder / "demo.json"
    earlier = _read(mark)
    if folder.exists() and any(folder.iterdir()) and earlier is None:
        raise UsageError("is not empty, and not of an earlier demo", str(folder), "choose another with --folder")
    if earlier not in (None, {"lines": lines, "seed": seed}):
        for path in ("_marts", "marts.duckdb.tmp"):
            shutil.rmtree(folder / path, ignore_errors=True)
        for path in ("marts.duckdb", "marts.duckdb.wal"):
            (folder / path).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(json.dumps({"lines": lines, "seed": seed}) + "\n", encoding="utf-8")
    shutil.rmtree(drops, ignore_errors=True)
    truth = generate(drops, lines, seed, progress)
    target = f"duckdb://{(folder / 'marts.duckdb').absolute()}"
    return {"source": str(drops), "target": target}, date.fromisoformat(str(truth["as_of"]))


def _read(mark: Path) -> object:
    """Return what an earlier demo was made of; None if there was none."""
    try:
        result: object = json.loads(mark.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result


def outcome(folder: Path, report: RunReport, warehouse: Warehouse) -> RenderableType:
    """Show what came out, for people rather than for scripts."""
    return Group(
        render.report(report),
        Text(""),
        render.rows(top_customers(warehouse, _TOP)),
        Text(""),
        render.rows(leaders(warehouse, None, _TOP)),
        Text(""),
        _next(folder),
    )


def _next(folder: Path) -> Text:
    source, target = folder / "drops", f"duckdb://{folder}/marts.duckdb"
    return Text(
        "what next\n"
        f"  look at the drops            ls {source}/sales\n"
        f"  what is live, the last runs  marts status --target {target}\n"
        f"  change or remove a drop, then see what that changes, and do it\n"
        f"      marts plan  --source {source} --target {target}\n"
        f"      marts build --source {source} --target {target} --as-of 2025-12-31\n"
        f"  bad rows, with reasons       marts quarantine list --source {source} --target {target}\n"
        f"  the report, as a page        {folder}/_marts/reports/index.html\n"
        f"  data quality, page by page   {folder}/_marts/docs/index.html\n"
        "  your own data                marts init"
    )
