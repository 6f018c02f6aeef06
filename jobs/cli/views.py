"""Commands of the views of a pack, such as `marts customers top`: query the live marts without SQL.

A pack may have a command of its own, which has those of its views: `marts PACK VIEW top`.
"""

import inspect
import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli.options import Config, Json, PackName, Target, Wide, configured, opened, show, with_parameters
from marts.errors import MartsError, UsageError

if TYPE_CHECKING:
    from jobs.operations.views import Rows
    from jobs.ports.warehouse import Warehouse
    from marts.pack import Mart, Pack
    from marts.views import ShowView, TopView, View

Csv = Annotated[bool, typer.Option("--csv", help="Print CSV on stdout, safe to open in a spreadsheet")]
Limit = Annotated[int, typer.Option(min=1, help="Number of rows to show")]
Month = Annotated[str | None, typer.Option(metavar="YYYY-MM", help="The last month with rows by default")]
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "target": (Target, None),
    "config": (Config, None),
    "pack": (PackName, None),
    "as_json": (Json, False),
    "as_csv": (Csv, False),
    "wide": (Wide, False),
}
"""Options of each view, with their defaults."""
_GROUP: dict[str, Any] = {"no_args_is_help": True, "rich_markup_mode": None, "add_completion": False}


def require_one_format(as_json: bool, as_csv: bool) -> None:
    """Raise UsageError for --json with --csv."""
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other", "arguments", "choose one")


def view_commands(arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Return the commands of the pack that the settings name, or ``arguments`` do: a group per view, or one of all."""
    from jobs.config.packs import load_pack
    from jobs.config.settings import Settings

    try:
        pack = configured_pack(arguments)
    except MartsError:  # the command that runs reports it
        pack = load_pack(Settings.model_fields["pack"].default)
    every = typer.Typer(help=f"Query the {pack.name} marts.", **_GROUP)
    groups = {view.name: _group(view, pack) for view in pack.views if not view.words}
    for view in (view for view in pack.views if view.words):
        *above, word = view.words.split()
        group = groups.setdefault(above[0], _empty(view)) if above else every
        group.command(word, help=_help(view))(_single(view, pack))
    for name, group in groups.items():
        every.add_typer(group, name=name)
    command = typer.main.get_command(every)
    return {pack.command: command} if pack.command else dict(command.commands)  # type: ignore[attr-defined]


def configured_pack(arguments: Sequence[str]) -> "Pack":
    """Return the pack that the settings name, or ``arguments`` do."""
    return configured(_value_of("--config", arguments), pack=_value_of("--pack", arguments)).domain


def _value_of(option: str, arguments: Sequence[str]) -> str | None:
    """Return the value of an option: the commands are needed before their options are parsed."""
    values = [after for word, after in pairwise(arguments) if word == option]
    values += [word.removeprefix(f"{option}=") for word in arguments if word.startswith(f"{option}=")]
    return values[-1] if values else None


def _group(view: "View", pack: "Pack") -> typer.Typer:
    mart, group = pack.marts[view.table], _empty(view)
    if view.top:
        group.command("top", help=view.top.help)(_top(view, view.top, mart))
    if view.show:
        group.command("show", help=view.show.help)(_show(view, view.show, pack))
    return group


def _empty(view: "View") -> typer.Typer:
    """Return a group without commands."""
    group = typer.Typer(help=view.help, **_GROUP)
    group.callback()(lambda: None)  # a group of one command would be that command
    return group


def _help(view: "View") -> str:
    """Return the help of the only command of a view."""
    return next(part.help for part in (view.top, view.show, view.groups) if part)


def _single(view: "View", pack: "Pack") -> Callable[..., None]:
    """Return the only command of a view."""
    mart = pack.marts[view.table]
    if view.top:
        return _top(view, view.top, mart)
    return _show(view, view.show, pack) if view.show else _groups(view, mart)


def _groups(view: "View", mart: "Mart") -> Callable[..., None]:
    def query(warehouse: "Warehouse") -> "tuple[Rows, ...]":
        from jobs.operations.views import groups

        return (groups(warehouse, view, mart),)

    return _command(query, {})


def _top(view: "View", listed: "TopView", mart: "Mart") -> Callable[..., None]:
    def query(warehouse: "Warehouse", limit: int, month: str | None = None) -> "tuple[Rows, ...]":
        from jobs.operations.views import top

        return (top(warehouse, view, listed, mart, month, limit),)

    return _command(query, {**_month_of(view), "limit": (Limit, 10)})


def _show(view: "View", of: "ShowView", pack: "Pack") -> Callable[..., None]:
    (column,) = (column for column in pack.marts[view.table].columns if column.name == of.by)
    about = typer.Argument(metavar=of.noun.upper(), help=f"The {of.by}{'; all by default' if of.every else ''}")
    kind: Any = int if column.type == "id" else str

    def query(warehouse: "Warehouse", value: int | str | None, month: str | None = None) -> "tuple[Rows, ...]":
        from jobs.operations.views import show as rows_of

        return rows_of(warehouse, view, of, pack.marts, value, month)

    value = (Annotated[kind | None, about], None) if of.every else (Annotated[kind, about], inspect.Parameter.empty)
    return _command(query, {"value": value, **_month_of(view)}, upright=True)


def _month_of(view: "View") -> dict[str, tuple[Any, Any]]:
    return {"month": (Month, None)} if view.month else {}


def _command(
    query: "Callable[..., tuple[Rows, ...]]", own: dict[str, tuple[Any, Any]], upright: bool = False
) -> Callable[..., None]:
    """Return a command that shows the rows of a query; ``own`` are the options of the query, with their defaults.

    Rows of several marts are one JSON object, by mart; CSV has those of the first.
    """

    def command(
        target: str | None, config: str | None, pack: str | None, as_json: bool, as_csv: bool, wide: bool, **values: Any
    ) -> None:
        require_one_format(as_json, as_csv)
        settings = configured(config, target=target, pack=pack)
        settings.require("target")
        with opened(settings, read_only=True) as warehouse:
            parts = query(warehouse, **values)
        if as_json:
            typer.echo(_as_json(parts))
        elif as_csv:
            typer.echo(parts[0].as_csv(), nl=False)
            if parts[1:]:
                typer.echo(f"--csv has the rows of {parts[0].table} only; --json has all", err=True)
        else:
            show(_rendered(parts, upright), stdout=True, wide=wide)

    by_name = inspect.Parameter.KEYWORD_ONLY
    options = {**own, **_OPTIONS}.items()
    return with_parameters(
        command, [inspect.Parameter(name, by_name, default=value, annotation=kind) for name, (kind, value) in options]
    )


def _as_json(parts: "Sequence[Rows]") -> str:
    own = parts[0].as_objects() if len(parts) == 1 else {rows.table: rows.as_objects() for rows in parts}
    return json.dumps(own, indent=2, default=str)


def _rendered(parts: "Sequence[Rows]", upright: bool) -> Any:
    from rich.console import Group

    from jobs.cli import render

    first, *others = [render.upright(rows) if upright else render.rows(rows) for rows in parts]
    return Group(first, *(part for table in others for part in ("", table)))
