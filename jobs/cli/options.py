"""Shared by all commands: common options, opening the target, printing, signals."""

import functools
import inspect
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from marts.errors import Stopped, UsageError

if TYPE_CHECKING:
    from jobs.config.settings import Settings
    from jobs.operations.survey import Survey
    from jobs.ports.warehouse import Warehouse
    from marts.pack import Pack
    from marts.policy import Policy

Who = Annotated[str | None, typer.Option(help="Name for the audit trail; the current user by default")]
Source = Annotated[str | None, typer.Option(help="Folder or s3://bucket/prefix with a folder per kind of drop")]
Target = Annotated[str | None, typer.Option(help="duckdb:///path/file.duckdb or mysql://user@host:port/database")]
State = Annotated[
    str | None, typer.Option(help="Folder or s3://bucket/prefix for Parquet; by default beside the target")
]
LastDay = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="DAY",
        help="Last day that counts: YYYY-MM-DD, yesterday, monday (the last, or today), month-end (of the month "
        "before); today by default",
    ),
]
Config = Annotated[str | None, typer.Option(help="Settings file; marts.toml by default, if it exists")]
PackName = Annotated[str | None, typer.Option(help="The domain: name of a shipped pack, or a folder with pack.toml")]
Generated = Annotated[str, typer.Option("--pack", help="The shipped pack: retail or banking")]
PolicyFile = Annotated[str | None, typer.Option("--policy", help="Policy file (TOML) with the business numbers")]
Wide = Annotated[bool, typer.Option("--wide", help="Show all columns, regardless of the terminal's width")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout")]
Folder = Annotated[
    str | None,
    typer.Option("--expectations", metavar="DIR", help="Folder of suites; its files override the shipped ones"),
]

_WIDE = 1000
"""Characters per line with --wide."""
_debug = False
"""Whether tracebacks of expected errors are shown."""


def show_tracebacks(wanted: bool) -> None:
    """Show the tracebacks of expected errors from now on, if ``wanted``."""
    global _debug
    _debug = _debug or wanted


def tracebacks_shown() -> bool:
    """Return whether the tracebacks of expected errors are shown."""
    return _debug


def run_id_of(moment: datetime) -> str:
    """Return a new id for a run that starts at ``moment``."""
    return f"{moment:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"


def configured(config: str | None, **flags: Any) -> "Settings":
    """Read the settings; given flags override them."""
    from jobs.config.load import load

    return load(config, flags)


_OPTIONS = {
    "source": Source,
    "target": Target,
    "state": State,
    "config": Config,
    "policy": PolicyFile,
    "pack": PackName,
    "expectations": Folder,
}
"""Options that override settings, by the name of the setting."""


def _with_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command some options in place of its parameter ``settings``."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters: list[inspect.Parameter] = []
        for own in inspect.signature(command).parameters.values():
            replaced = names if own.name == "settings" else ()
            given = [inspect.Parameter(n, own.kind, default=None, annotation=_OPTIONS[n]) for n in replaced]
            parameters += given or [own]

        @functools.wraps(command)
        def read(**values: Any) -> None:
            flags = {name: values.pop(name) for name in names}
            command(settings=configured(flags.pop("config"), **flags), **values)

        return with_parameters(read, parameters)

    return decorate


with_settings = _with_options("source", "target", "state", "config", "policy", "pack")
"""For commands that look at the drops: where everything is."""
with_target = _with_options("target", "config", "pack")
"""For commands that look at the target only."""
with_places = _with_options("source", "target", "state", "config", "pack")
"""For commands that read what builds have written."""
with_suites = _with_options("config", "policy", "pack", "expectations")
"""For commands about suites."""


def with_parameters(command: Callable[..., None], parameters: Sequence[inspect.Parameter]) -> Callable[..., None]:
    """Give a command the parameters that the command line shows; it is called with them by name."""
    command.__signature__ = inspect.Signature(parameters, return_annotation=None)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def configured_policy(settings: "Settings") -> "Policy":
    """Read the policy that the settings name."""
    from jobs.config.load import load_policy

    return load_policy(settings)


@contextmanager
def opened(settings: "Settings", read_only: bool = False, create: bool = False) -> Iterator["Warehouse"]:
    """Open the target and check the sealed file against the revision that it recorded.

    Raise UsageError for a file that does not exist, unless ``create``: a mistyped path is not an empty target; and for
    a target of another pack.
    """
    from jobs.adapters.warehouse.open import open_warehouse
    from jobs.operations.seal import check_seal

    wait = 0 if read_only else settings.lock_timeout
    warehouse = open_warehouse(settings.target or "", settings.mysql, settings.domain, read_only, wait, create)
    try:
        check_seal(settings, warehouse, stamp(), remember=not read_only)
        _require_own(settings.domain, warehouse)
        yield warehouse
    finally:
        warehouse.close()


def _require_own(pack: "Pack", warehouse: "Warehouse") -> None:
    """Raise UsageError if all marts of the target are those of another pack."""
    live = sorted(warehouse.live())
    if live and not {*live} & {*pack.marts}:
        raise UsageError(
            f"the target has the marts {', '.join(live)}, of which the pack {pack.name!r} has none",
            "pack",
            "name the pack of the target: --pack, pack in marts.toml, or MARTS_PACK",
        )


@contextmanager
def looking(
    settings: "Settings", at: datetime, read_only: bool = True, locked: bool = False, by: str = ""
) -> Iterator["tuple[Survey, Warehouse]"]:
    """Survey the drops, the ledger and the state; ``locked``: while no build runs; ``by``: fence off late builds."""
    from jobs.operations.survey import survey

    settings.require("source", "target")
    with (
        opened(settings, read_only) as warehouse,
        warehouse.lock(settings.lock_timeout) if locked else nullcontext(),
    ):
        if locked:
            warehouse.prepare()
        if by:
            warehouse.take_over(by)
        yield survey(settings, configured_policy(settings), warehouse, at), warehouse


def require_why(why: str) -> None:
    """Raise UsageError for a decision without a reason."""
    if not why.strip():
        raise UsageError("is empty", "--why", "give a reason for the audit trail")


def show(what: Any, stdout: bool = False, wide: bool = False) -> None:
    """Print for people: as wide as the terminal, 160 characters elsewhere, or 1000 if ``wide``."""
    console = Console(stderr=not stdout, highlight=False)
    if wide or not console.is_terminal:
        console = Console(stderr=not stdout, highlight=False, width=_WIDE if wide else 160)
    console.print(what)


def stamp() -> str:
    """Return the current time in the format of the ledger."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Stop:
    """Handler of SIGINT and SIGTERM: the run is recorded as stopped, with the exit code of TryLater.

    A signal may arrive in a callback that swallows exceptions, so it is also remembered: ``check`` raises it again
    when the next step or task begins. A second signal ends the process immediately.
    """

    def __init__(self) -> None:
        self._signal = ""

    def listen(self) -> None:
        """Install the signal handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._stop)

    def _stop(self, number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        self._signal = signal.Signals(number).name
        raise Stopped(self._signal)

    def check(self) -> None:
        """Raise Stopped after a stop request."""
        if self._signal:
            raise Stopped(self._signal)
