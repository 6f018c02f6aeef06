"""Help: commands in groups, and `marts help COMMAND`."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from marts.errors import UsageError

GROUPS: dict[str, tuple[str, ...]] = {
    "Start": ("demo", "init", "doctor", "generate", "sources", "pack"),
    "Every day": ("plan", "build", "status", "report", "docs", "serve", "monthly"),
    "Query the marts": (),
    "Data": ("history", "diff", "quarantine", "withdraw", "accept-fall", "check", "expectations"),
    "Operate": ("rollback", "vacuum", "notify", "audit", "erase", "secrets"),
    "Clusters": ("submit", "launch", "watchdog", "job"),
    "Help": ("help",),
}
"""Commands by task; the group without names contains all others."""


class Grouped(TyperGroup):
    """List commands in groups, each with its full first sentence."""

    def every(self, arguments: Sequence[str] = ()) -> dict[str, Any]:
        """Return all commands, by name: also those of the views of the pack, which ``arguments`` may name."""
        from jobs.cli.views import view_commands

        return {**view_commands(arguments), **self.commands}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command of the arguments."""
        ctx.meta[_ARGUMENTS] = args
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command. The pack is read only where its views may be meant.

        Raise MartsError for an unknown command if the pack cannot be read: it may be one of its views.
        """
        arguments = ctx.meta.get(_ARGUMENTS, ()) if ctx else ()
        known = self.commands.get(cmd_name) or self.every(arguments).get(cmd_name)
        if known is None and ctx and not ctx.resilient_parsing:
            from jobs.cli.views import configured_pack
            from marts.packs import SHIPPED

            configured_pack(arguments)
            if cmd_name in SHIPPED:
                hint = f'set pack = "{cmd_name}" in marts.toml, or add --pack {cmd_name}'
                raise UsageError(f"the commands of the pack {cmd_name} need it", "pack", hint)
        return known

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of the groups."""
        return [name for names in self._groups(self.every()).values() for name in names]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section per group."""
        every = self.every()
        for title, names in self._groups(every).items():
            with formatter.section(title):
                formatter.write_dl([(name, every[name].get_short_help_str(_ALL)) for name in names])

    def _groups(self, every: Iterable[str]) -> dict[str, tuple[str, ...]]:
        named = {name for names in GROUPS.values() for name in names}
        others = tuple(name for name in every if name not in named)
        return {title: names or others for title, names in GROUPS.items()}


_ALL = 1000
_ARGUMENTS = "jobs.cli.arguments"


def help_(
    ctx: typer.Context,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[COMMAND]...", help="Command, such as: quarantine list")
    ] = None,
) -> None:
    """Show the help of a command."""
    from marts.policy import nearest

    parent: Any = ctx.parent
    current, path = parent.command, parent
    for name in command or ():
        commands = current.every() if isinstance(current, Grouped) else getattr(current, "commands", {})
        inner = commands.get(name)
        if inner is None:
            raise UsageError(
                f"unknown command {name!r}{nearest(name, commands)}", "help", "`marts --help` lists all commands"
            )
        current, path = inner, inner.context_class(inner, info_name=name, parent=path)
    typer.echo(current.get_help(path))
