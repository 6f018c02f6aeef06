"""Help: commands in groups, and `marts help COMMAND`."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from marts.errors import UsageError
from marts.policy import nearest

GROUPS = {
    "Start": ("demo", "init", "doctor", "generate"),
    "Every day": ("plan", "build", "status", "report", "docs"),
    "Look at the marts": ("customers", "sales"),
    "Data": ("history", "quarantine", "withdraw", "accept-fall", "check", "expectations"),
    "Operate": ("rollback", "vacuum", "notify", "audit", "erase", "secrets"),
    "Clusters": ("submit", "launch", "watchdog", "job"),
    "Help": ("help",),
}


class Grouped(TyperGroup):
    """Lists commands by what people want to do, each with its whole first sentence."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of the groups."""
        known = [name for names in GROUPS.values() for name in names]
        return [
            *(name for name in known if name in self.commands),
            *(name for name in self.commands if name not in known),
        ]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section per group."""
        for title, names in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(_ALL)) for name in names])


_ALL = 1000


def help_(
    ctx: typer.Context,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[COMMAND]...", help="Such as: quarantine list")
    ] = None,
) -> None:
    """Show the help of a command."""
    parent: Any = ctx.parent
    current, path = parent.command, parent
    for name in command or ():
        commands = getattr(current, "commands", {})
        inner = commands.get(name)
        if inner is None:
            raise UsageError(
                f"there is no command {name!r}{nearest(name, commands)}", "help", "marts --help lists them all"
            )
        current, path = inner, inner.context_class(inner, info_name=name, parent=path)
    typer.echo(current.get_help(path))
