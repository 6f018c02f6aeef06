"""`marts …`: parse, call, render. Data goes to stdout, everything else to stderr."""

import json
import signal
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from zoneinfo import ZoneInfo

import typer
from rich.console import Console

from jobs.settings import Settings, load, load_policy
from marts import __version__
from marts.errors import Defect, MartsError, TryLater, UsageError

if TYPE_CHECKING:
    from jobs.ledger import Warehouse
    from jobs.report import RunReport
    from marts.policy import Policy

app = typer.Typer(
    name="marts",
    help="Builds the Customers and the Sales Team data marts from CSV drops.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Source = Annotated[str | None, typer.Option(help="Folder or s3://bucket/prefix with sales/, customers/, stores/, …")]
Target = Annotated[str | None, typer.Option(help="duckdb:///path/file.duckdb or mysql://user[:password]@host:port/db")]
State = Annotated[
    str | None, typer.Option(help="Folder or s3://bucket/prefix for Parquet; by default beside the target")
]
AsOf = Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Lines after it are left out; today by default")]
Config = Annotated[str | None, typer.Option(help="Settings file; marts.toml by default, if it is there")]
PolicyFile = Annotated[str | None, typer.Option("--policy", help="Business numbers, as TOML")]
MartName = Annotated[str | None, typer.Option(help="Build only this one: customers or sales_team")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout")]


def main(*arguments: str) -> None:
    """Run the command line; ``arguments`` go before those of the process. Ends with the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app([*arguments, *sys.argv[1:]], standalone_mode=True)
    except MartsError as error:
        _fail(error)
    except SystemExit as error:
        if error.code == signal.SIGTERM:  # the handler that Ray sets while it starts
            _fail(_stopped(signal.SIGTERM))
        raise
    except Exception as error:  # noqa: BLE001 - the last resort: whatever is left is a defect, told as such
        if isinstance(error, OSError) and error.filename:
            _fail(UsageError(f"{error.strerror}", str(error.filename), "name another file or folder"))
        traceback.print_exc()
        _fail(Defect(f"{type(error).__name__}: {error}", "marts", "please report it, with the lines above"))


def _fail(error: MartsError) -> NoReturn:
    from jobs.render import error as rendered

    typer.echo(rendered(error.what, error.where, error.hint), err=True)
    sys.exit(error.exit_code)


def _stopped(number: int) -> TryLater:
    hint = "the live marts are untouched; run again, it goes on from what is done"
    return TryLater(f"stopped by {signal.Signals(number).name}", "marts", hint)


def _stop_politely() -> None:
    """Turn a signal to stop into an error like any other: the run is recorded, and the exit code says try later.

    A second signal ends the process at once.
    """
    if threading.current_thread() is not threading.main_thread():
        return

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise _stopped(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and exit")] = False) -> None:
    if version:
        typer.echo(f"martwright {__version__}")
        raise typer.Exit


@app.command()
def build(
    source: Source = None,
    target: Target = None,
    state: State = None,
    as_of: AsOf = None,
    config: Config = None,
    policy: PolicyFile = None,
    mart: MartName = None,
    rebuild: Annotated[bool, typer.Option(help="Make everything again from the drops")] = False,
    rescan: Annotated[bool, typer.Option(help="Judge drops again that were judged by older row rules")] = False,
    as_json: Json = False,
) -> None:
    """Bring both marts up to date with the drops, and make them live."""
    settings = _settings(config, source=source, target=target, state=state, as_of=as_of, policy=policy, mart=mart)
    settings.require("source", "target")
    policy_ = load_policy(settings)
    with _warehouse(settings) as warehouse:
        report = _build(settings, policy_, _as_of(settings, policy_), warehouse, rebuild, rescan)
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        _show(_rendered("report", report))
    raise typer.Exit(report.exit_code)


@app.command()
def plan(
    source: Source = None,
    target: Target = None,
    state: State = None,
    config: Config = None,
    policy: PolicyFile = None,
    as_json: Json = False,
) -> None:
    """Say which drops are new, replaced, duplicate or rejected, and which months change. Changes nothing."""
    from jobs.adapters.objects import ObjectVersion, open_store
    from jobs.build import scan_settings
    from jobs.plan import make_plan, months_that_change, peek
    from jobs.state import Catalog

    settings = _settings(config, source=source, target=target, state=state, policy=policy)
    settings.require("source", "target")
    policy_ = load_policy(settings)
    store = open_store(settings.source or "", settings.s3)
    catalog = Catalog(open_store(settings.state_uri, settings.s3))
    with _warehouse(settings, read_only=True) as warehouse:
        ledger = warehouse.drops()
    tables: dict[str, list[ObjectVersion]] = {name: [] for name in settings.dimensions.tables}
    made = make_plan(store, catalog, ledger, scan_settings(settings, policy_), tables)
    made = peek(store, made, settings.csv.delimiter)
    months = months_that_change(made, catalog)
    if as_json:
        drops = [
            {
                "kind": drop.delivery.kind,
                "key": drop.delivery.key,
                "change": drop.change,
                "duplicate_of": drop.duplicate_of,
                "rejected": drop.rejected,
                "months": drop.months,
            }
            for drop in made.drops
        ]
        gone = [record.object_key for record in made.vanished]
        typer.echo(json.dumps({"drops": drops, "vanished": gone, "months_that_change": months}, indent=2))
    else:
        _show(_rendered("plan", made, months), stdout=True)


@app.command()
def status(
    target: Target = None,
    config: Config = None,
    runs: Annotated[int, typer.Option(min=1, help="How many runs to show")] = 10,
    as_json: Json = False,
) -> None:
    """Show what is live, and the last runs."""
    from marts.schema import MARTS

    settings = _settings(config, target=target)
    settings.require("target")
    with _warehouse(settings, read_only=True) as warehouse:
        live, last = warehouse.live(), warehouse.runs(runs)
    if as_json:
        shown = {
            "live": {name: asdict(generation) for name, generation in live.items()},
            "runs": [{**asdict(run), "report": json.loads(run.report)} for run in last],
        }
        typer.echo(json.dumps(shown, indent=2))
    else:
        _show(_rendered("status", live.values(), last, list(MARTS)), stdout=True)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write marts.toml and policy.toml")] = Path(),
) -> None:
    """Write a commented marts.toml, and a policy.toml, to start from."""
    from jobs.initial import write

    for path in write(folder):
        typer.echo(f"wrote {path}")


@app.command()
def generate(
    folder: Annotated[Path, typer.Argument(help="Where to write the drops")],
    lines: Annotated[int, typer.Option(min=1000, help="Sales lines")] = 500_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes")] = 7,
) -> None:
    """Make realistic drops to try things out on."""
    from jobs.generate import generate as make

    if folder.exists() and any(folder.iterdir()):
        raise UsageError("is not empty", str(folder), "choose another folder, or remove it first")
    truth = make(folder, lines, seed)
    typer.echo(f"wrote {truth['lines']:,} sales lines under {folder}; generated.json there says what is in them")


@app.command()
def demo(
    lines: Annotated[int, typer.Option(min=1000, help="Sales lines")] = 500_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same result")] = 7,
    folder: Annotated[Path, typer.Option(help="Where to work")] = Path("marts-demo"),
) -> None:
    """Make drops, build both marts into an embedded database, and show what came out."""
    from jobs import demo as show
    from marts.policy import Policy

    with _progress() as watch:
        watch.begin("generate drops", 0)
        flags, as_of = show.prepare(folder, lines, seed, watch.advance)
    settings = load(None, flags)
    with _warehouse(settings) as warehouse:
        report = _build(settings, Policy(), as_of, warehouse)
        shown = _rendered("report", report) if report.error else show.outcome(folder, report, warehouse)
    _show(shown, stdout=True)
    raise typer.Exit(report.exit_code)


@app.command()
def doctor(
    source: Source = None,
    target: Target = None,
    state: State = None,
    config: Config = None,
    policy: PolicyFile = None,
    as_json: Json = False,
) -> None:
    """Check versions, storage, database rights and Ray, and say for each failure what to do."""
    from jobs.doctor import examine

    settings = _settings(config, source=source, target=target, state=state, policy=policy)
    found = list(examine(settings))
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in found], indent=2))
    else:
        _show(_rendered("checks", [(check.what, check.ok, check.text) for check in found]), stdout=True)
    raise typer.Exit(next((check.exit_code or 69 for check in found if not check.ok), 0))


def _settings(config: str | None, **flags: Any) -> Settings:
    return load(config, flags)


def _as_of(settings: Settings, policy: "Policy") -> date:
    return settings.as_of or datetime.now(ZoneInfo(policy.business_timezone)).date()


@contextmanager
def _warehouse(settings: Settings, read_only: bool = False) -> Iterator["Warehouse"]:
    from jobs.publish import open_warehouse

    warehouse = open_warehouse(settings.target or "", settings.mysql, read_only)
    try:
        yield warehouse
    finally:
        warehouse.close()


def _build(
    settings: Settings,
    policy: "Policy",
    as_of: date,
    warehouse: "Warehouse",
    rebuild: bool = False,
    rescan: bool = False,
) -> "RunReport":
    from jobs.adapters.cluster import Cluster
    from jobs.build import Run
    from jobs.build import build as build_marts

    def start() -> None:
        cluster.start()  # sets handlers of its own
        _stop_politely()

    _stop_politely()
    started = datetime.now(UTC)
    run_id = f"{started:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"
    with Cluster(settings.ray) as cluster, _progress() as watch:
        return build_marts(
            Run(
                settings=settings,
                policy=policy,
                as_of=as_of,
                run_id=run_id,
                clock=lambda: datetime.now(UTC),
                runner=cluster.run,
                start=start,
                warehouse=warehouse,
                progress=watch,
                rebuild=rebuild,
                rescan=rescan,
            )
        )


class _PlainProgress:
    """One line when a step begins: for logs."""

    def __init__(self) -> None:
        self._step = ""

    def begin(self, step: str, total: int) -> None:
        if total or step != self._step:
            typer.echo(f"{datetime.now(UTC):%H:%M:%S} {step}" + (f" {total:,}" if total else ""), err=True)
        self._step = step

    def advance(self) -> None:
        pass


class _BarProgress:
    """A progress bar per step: for terminals."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<14}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task: Any = None

    def begin(self, step: str, total: int) -> None:
        if self._task is not None:
            self.bars.update(self._task, visible=False)
        self._task = self.bars.add_task(step, total=total or None)

    def advance(self) -> None:
        if self._task is not None:
            self.bars.advance(self._task)


@contextmanager
def _progress() -> Iterator["_PlainProgress | _BarProgress"]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _PlainProgress()
        return
    watch = _BarProgress(console)
    with watch.bars:
        yield watch


def _rendered(what: str, *values: Any) -> Any:
    from jobs import render

    function: Callable[..., Any] = getattr(render, what)
    return function(*values)


def _show(shown: Any, stdout: bool = False) -> None:
    """Print for people: as wide as the terminal, or wide enough for a log."""
    console = Console(stderr=not stdout, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=not stdout, highlight=False, width=160)
    console.print(shown)


if __name__ == "__main__":
    main()
