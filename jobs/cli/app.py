"""`marts …`: parse, call, render. Data goes to stdout, everything else to stderr."""

import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from jobs.cli.admin import demo, doctor, erase, generate, init, vacuum
from jobs.cli.build import build, plan, status
from jobs.cli.cluster import app as launch
from jobs.cli.cluster import submit, watchdog
from jobs.cli.decisions import accept_fall, check, withdraw
from jobs.cli.diff import diff
from jobs.cli.expectations import expectations
from jobs.cli.help import Grouped, help_
from jobs.cli.history import audit, history, rollback
from jobs.cli.job import job
from jobs.cli.monthly import monthly
from jobs.cli.notify import app as notify
from jobs.cli.options import show_tracebacks, tracebacks_shown
from jobs.cli.pack import pack
from jobs.cli.pages import docs, report
from jobs.cli.progress import Debug
from jobs.cli.quarantine import quarantine
from jobs.cli.secrets import app as secrets
from jobs.cli.serve import serve
from jobs.cli.sources import sources
from jobs.runtime import logs
from jobs.runtime.scrub import scrub, scrub_logs, scrubbed
from marts import __version__
from marts.errors import Defect, MartsError, Stopped, UsageError

app = typer.Typer(
    name="marts",
    help="Build data marts from drops of files: the retail marts, or those of a pack of your own.",
    cls=Grouped,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: marts demo",
)
_COMMANDS: tuple[Callable[..., None], ...] = (
    *(demo, init, doctor, generate, plan, build, status, report, docs, serve, monthly),
    *(history, diff, rollback, vacuum, submit, watchdog, job, help_),
)
for command in _COMMANDS:
    app.command(command.__name__.rstrip("_"))(command)
app.command("accept-fall")(accept_fall)
for name, group in {
    "sources": sources,
    "pack": pack,
    "quarantine": quarantine,
    "withdraw": withdraw,
    "check": check,
    "expectations": expectations,
    "notify": notify,
    "launch": launch,
    "secrets": secrets,
    "audit": audit,
    "erase": erase,
}.items():
    app.add_typer(group, name=name)


_ALLOCATIONS = 50_000
"""Objects after which new ones are looked through for garbage: by default 700, mostly in vain while modules load."""


def main(*arguments: str) -> None:
    """Run the command line and exit with its exit code; ``arguments`` precede those of the process."""
    gc.set_threshold(_ALLOCATIONS)
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
    except Stopped as announced:
        _fail(announced.as_error())
    except Exception as error:  # noqa: BLE001 - the last resort: any other exception is reported as a defect
        if isinstance(error, OSError) and error.filename:
            _fail(UsageError(f"{error.strerror}", str(error.filename), "name another file or folder"))
        typer.echo(scrub(traceback.format_exc()), err=True)
        _fail(Defect(f"{type(error).__name__}: {error}", "marts", "please report it, with the lines above"))


def _fail(error: MartsError) -> NoReturn:
    from jobs.cli.render import error as rendered

    if tracebacks_shown():
        typer.echo(scrub("".join(traceback.format_exception(error))), err=True)
    error = scrubbed(error)
    if error.announced and logs.speaks_json() and error.exit_code != UsageError.exit_code:
        sys.exit(error.exit_code)
    message, rest = rendered(error.what, error.where, error.hint).partition("\n")[::2]
    red = None if "NO_COLOR" in os.environ else "red"
    typer.secho(message, fg=red, err=True)
    if rest:
        typer.echo(rest, err=True)
    sys.exit(error.exit_code)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit")] = False,
    debug: Debug = False,
) -> None:
    show_tracebacks(debug)
    if version:
        typer.echo(f"martwright {__version__}")
        raise typer.Exit
