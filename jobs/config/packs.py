"""Read a pack by name, or from a folder of the user."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from marts.dashboard import FILE as DASHBOARD
from marts.dashboard import Dashboard, read_dashboard
from marts.errors import UsageError
from marts.monthly import FILE as REPORT
from marts.monthly import MonthlyReport, read_report
from marts.pack import Pack
from marts.packs import SHIPPED, read_pack, shipped
from marts.policy import nearest

FILE = "pack.toml"


def load_pack(name: str) -> Pack:
    """Return a shipped pack, or that of a folder. Raise UsageError for another name, or with the invalid entry."""
    if name in SHIPPED:
        return shipped(name)
    if "/" not in name and not Path(name, FILE).is_file():
        hint = f"known: {', '.join(SHIPPED)}; or name a folder with {FILE}"
        raise UsageError(f"unknown pack {name!r}{nearest(name, SHIPPED)}", "pack", hint)
    return _of_folder(Path(name).absolute())


@cache
def _of_folder(folder: Path) -> Pack:
    path = folder / FILE
    try:
        text = path.read_text(encoding="utf-8")
        sql = {item.name: item.read_text(encoding="utf-8") for item in sorted(folder.glob("*.sql"))}
    except OSError as error:
        raise UsageError(
            f"cannot be read: {error.strerror}", error.filename or str(path), f"name a folder with {FILE}"
        ) from error
    except ValueError as error:
        raise UsageError(f"is not UTF-8: {error}", str(path)) from error
    return replace(read_pack(text, sql, str(path)), folder=str(folder))


def load_dashboard(pack: Pack) -> Dashboard | None:
    """Return the dashboard of a pack; None if it has none.

    Raise UsageError with the invalid entry, or with a mart that it needs and that settings leave out.
    """
    file = _folder(pack) / DASHBOARD
    if not file.is_file():
        return None
    dashboard = read_dashboard(file.read_text(encoding="utf-8"), load_pack(pack.folder or pack.name).marts, str(file))
    for name, figure in dashboard.figures.items():
        if unknown := [kind for kind in figure.drops if kind not in pack.kinds]:
            raise UsageError(f"figures.{name}.drops: {unknown[0]!r} is no kind of drop", str(file))
    if missing := [name for name in dashboard.tables if name not in pack.marts]:
        what = f"the dashboard needs {missing[0]}, which is left out"
        raise UsageError(what, "settings", "take it out of leave_out, or set analytics = true, and build")
    return dashboard


def required_dashboard(pack: Pack) -> Dashboard:
    """Return the dashboard of a pack, as `load_dashboard` does. Raise UsageError if it has none, too."""
    dashboard = load_dashboard(pack)
    if dashboard is None:
        raise UsageError(f"the pack {pack.name!r} has no dashboard.toml", "pack", "write one beside its pack.toml")
    return dashboard


def required_report(pack: Pack, dashboard: Dashboard) -> tuple[MonthlyReport, Mapping[str, str]]:
    """Return the monthly report of a pack, as `load_report` does. Raise UsageError if it has none, too."""
    report = load_report(pack, dashboard)
    if report is None:
        raise UsageError(f"the pack {pack.name!r} has no report.toml", "pack", "write one beside its dashboard.toml")
    return report


def load_report(pack: Pack, dashboard: Dashboard) -> tuple[MonthlyReport, Mapping[str, str]] | None:
    """Return the monthly report of a pack, and the SQL of its queries by the name of the file; None if it has none.

    Raise UsageError with the invalid entry.
    """
    folder = _folder(pack)
    file = folder / REPORT
    if not file.is_file():
        return None
    marts = load_pack(pack.folder or pack.name).marts
    report = read_report(file.read_text(encoding="utf-8"), dashboard, marts, str(file))
    sql = {}
    for query in report.queries:
        text = folder / query.sql
        if not text.is_file():
            raise UsageError(f"names {query.sql}, which does not exist", str(file), "write the file beside it")
        sql[query.sql] = text.read_text(encoding="utf-8")
    return report, sql


def _folder(pack: Pack) -> Path | Traversable:
    return Path(pack.folder) if pack.folder else files("marts").joinpath(pack.name)
