"""What commands share: options that many have, how a target is opened, how something is shown."""

import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from jobs.config.load import load
from jobs.config.settings import Settings
from marts.errors import Stopped, UsageError

if TYPE_CHECKING:
    from jobs.operations.survey import Survey
    from jobs.ports.warehouse import Warehouse

Who = Annotated[str | None, typer.Option(help="For the audit trail; the user of this machine by default")]
Source = Annotated[str | None, typer.Option(help="Folder or s3://bucket/prefix with sales/, customers/, stores/, …")]
Target = Annotated[str | None, typer.Option(help="duckdb:///path/file.duckdb or mysql://user@host:port/database")]
State = Annotated[
    str | None, typer.Option(help="Folder or s3://bucket/prefix for Parquet; by default beside the target")
]
Config = Annotated[str | None, typer.Option(help="Settings file; marts.toml by default, if it is there")]
PolicyFile = Annotated[str | None, typer.Option("--policy", help="Business numbers, as TOML")]
Wide = Annotated[bool, typer.Option("--wide", help="Show all columns, however wide the terminal is")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout")]
Folder = Annotated[
    str | None,
    typer.Option("--expectations", metavar="DIR", help="Folder of suites; a file there wins over the shipped"),
]

_WIDE = 1000
"""Letters of a line with --wide."""
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
    """Return a new id for a run that begins at a moment."""
    return f"{moment:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"


def configured(config: str | None, **flags: Any) -> Settings:
    """Read the settings; flags that are given win."""
    return load(config, flags)


@contextmanager
def opened(settings: Settings, read_only: bool = False, create: bool = False) -> Iterator["Warehouse"]:
    """Open the target, and check that it knows the credentials that we came with.

    Raises UsageError for a file that does not exist, unless ``create``: a mistyped one is not an empty target.
    """
    from jobs.adapters.warehouse.open import open_warehouse
    from jobs.operations.seal import check_seal

    wait = 0 if read_only else settings.lock_timeout
    warehouse = open_warehouse(settings.target or "", settings.mysql, read_only, wait, create)
    try:
        check_seal(settings, warehouse, stamp(), remember=not read_only)
        yield warehouse
    finally:
        warehouse.close()


@contextmanager
def looking(
    settings: Settings, at: datetime, read_only: bool = True, locked: bool = False, by: str = ""
) -> Iterator["tuple[Survey, Warehouse]"]:
    """Look at the drops, the ledger and the state; if ``locked``, while no build runs; ``by`` fences off the late."""
    from jobs.config.load import load_policy
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
        yield survey(settings, load_policy(settings), warehouse, at), warehouse


def require_why(why: str) -> None:
    """Raise UsageError if somebody decides without saying why."""
    if not why.strip():
        raise UsageError("is empty", "--why", "say why, for whoever reads the audit trail")


def show(what: Any, stdout: bool = False, wide: bool = False) -> None:
    """Print for people: as wide as the terminal, wide enough for a log, or as wide as it takes."""
    console = Console(stderr=not stdout, highlight=False)
    if wide or not console.is_terminal:
        console = Console(stderr=not stdout, highlight=False, width=_WIDE if wide else 160)
    console.print(what)


def stamp() -> str:
    """Return this moment as the ledger writes it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Stop:
    """What a signal to stop does: the run is recorded as stopped, and the exit code says try later.

    The signal may come while Python runs a callback that swallows whatever is raised, so it is also remembered:
    ``check`` raises it again when the next step or task begins. A second signal ends the process at once.
    """

    def __init__(self) -> None:
        self._signal = ""

    def listen(self) -> None:
        """Hear signals from now on."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._stop)

    def _stop(self, number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        self._signal = signal.Signals(number).name
        raise Stopped(self._signal)

    def check(self) -> None:
        """Raise Stopped if somebody told us to stop."""
        if self._signal:
            raise Stopped(self._signal)
