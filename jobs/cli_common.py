"""What commands share: options that many have, how a target is opened, how something is shown."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from jobs.settings import Settings, load

if TYPE_CHECKING:
    from jobs.ledger import Warehouse

Who = Annotated[str | None, typer.Option(help="For the audit trail; the user of this machine by default")]
Source = Annotated[str | None, typer.Option(help="Folder or s3://bucket/prefix with sales/, customers/, stores/, …")]
Target = Annotated[str | None, typer.Option(help="duckdb:///path/file.duckdb or mysql://user@host:port/database")]
State = Annotated[
    str | None, typer.Option(help="Folder or s3://bucket/prefix for Parquet; by default beside the target")
]
Config = Annotated[str | None, typer.Option(help="Settings file; marts.toml by default, if it is there")]
PolicyFile = Annotated[str | None, typer.Option("--policy", help="Business numbers, as TOML")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout")]


def configured(config: str | None, **flags: Any) -> Settings:
    """Read the settings; flags that are given win."""
    return load(config, flags)


@contextmanager
def opened(settings: Settings, read_only: bool = False) -> Iterator["Warehouse"]:
    """Open the target, and check that it knows the credentials that we came with."""
    from jobs.publish import open_warehouse
    from jobs.trusted import check_seal

    wait = 0 if read_only else settings.lock_timeout
    warehouse = open_warehouse(settings.target or "", settings.mysql, read_only, wait)
    try:
        check_seal(settings, warehouse, stamp(), remember=not read_only)
        yield warehouse
    finally:
        warehouse.close()


def rendered(what: str, *values: Any) -> Any:
    """Render something by the function of this name."""
    from jobs import render

    function: Callable[..., Any] = getattr(render, what)
    return function(*values)


def show(what: Any, stdout: bool = False) -> None:
    """Print for people: as wide as the terminal, or wide enough for a log."""
    console = Console(stderr=not stdout, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=not stdout, highlight=False, width=160)
    console.print(what)


def stamp() -> str:
    """Give this moment as the ledger writes it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
