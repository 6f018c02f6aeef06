"""Progress of a run: bars and lines on a terminal, JSON lines elsewhere."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from jobs.runtime import logs

if TYPE_CHECKING:
    from jobs.config.settings import Log

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more: each task and each drop")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Log only warnings and errors")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors and log more")]

_EVERY = 5.0
"""Seconds between two progress lines of a step."""
_log = logging.getLogger("marts.progress")


@dataclass(frozen=True)
class Voice:
    """Output format and log level of a run."""

    format: str
    """text or json."""
    level: int
    bars: bool

    @property
    def shows_report(self) -> bool:
        return self.format == "text" and self.level <= logging.INFO


def voice(settings: "Log", verbose: bool = False, quiet: bool = False, debug: bool = False) -> Voice:
    """Choose output format and log level, and set up logging accordingly."""
    terminal = sys.stderr.isatty()
    form = settings.format if settings.format != "auto" else "text" if terminal else "json"
    wanted = "debug" if verbose or debug else "warning" if quiet else settings.level
    level: int = getattr(logging, wanted.upper())
    handler = logs.Stderr()
    handler.setFormatter(logs.Text() if form == "text" else logs.Json())
    if form == "text":
        handler.addFilter(lambda record: getattr(record, "fields", {}).get("event") != "run")  # the report shows it
    logs.set_up(handler, level)
    return Voice(form, level, bars=terminal and form == "text" and level <= logging.INFO)


class Lines:
    """Progress as log lines: one when a step begins, then one every few seconds."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check, self._step = check, ""
        self._total = self._done = self._rows = self._drops = 0
        self._begun = self._reported = 0.0

    def begin(self, step: str, total: int) -> None:
        self._check()
        if total or step != self._step:
            text = f"{step}: {total:,} tasks" if total else step
            _log.info(text, extra={"fields": {"event": "step", "step": step, "tasks": total}})
        self._step, self._total = step, total
        self._done = self._rows = self._drops = 0
        self._begun = self._reported = time.monotonic()

    def advance(self, rows: int = 0, drops: int = 0) -> None:
        self._check()
        self._done, self._rows, self._drops = self._done + 1, self._rows + rows, self._drops + drops
        now = time.monotonic()
        if now - self._reported >= _EVERY:
            self._reported = now
            self._report(now - self._begun)

    def _report(self, seconds: float) -> None:
        left = seconds / self._done * (self._total - self._done) if self._total else 0.0
        fields = {
            "event": "progress",
            "step": self._step,
            "done": self._done,
            "tasks": self._total,
            "rows": self._rows,
            "drops": self._drops,
            "rows_per_second": round(self._rows / seconds),
            "seconds_left": round(left),
        }
        text = f"{self._step}: {self._done:,} of {self._total:,}{_counts(self._rows, self._drops, seconds)}"
        _log.info("%s, %d s left", text, left, extra={"fields": fields})


class Bars:
    """Progress as one bar per step, for terminals."""

    def __init__(self, console: Console, check: Callable[[], None]) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            SpinnerColumn,
            Task,
            TextColumn,
        )
        from rich.table import Column
        from rich.text import Text

        class Done(MofNCompleteColumn):
            """Completed and total tasks of a step; empty if the total is unknown."""

            def render(self, task: Task) -> Text:
                return super().render(task) if task.total else Text("")

        class Time(ProgressColumn):
            """Remaining time of a step, or elapsed time if the former is unknown."""

            max_refresh = 0.5

            def render(self, task: Task) -> Text:
                return Text(time_of(task.elapsed or 0, None if task.finished else task.time_remaining))

        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<14}"),
            BarColumn(bar_width=24),
            Done(table_column=Column(no_wrap=True, min_width=9)),
            Time(Column(no_wrap=True, min_width=14)),
            TextColumn("{task.fields[counts]}"),
            console=console,
            transient=True,
        )
        self._check = check
        self._task: Any = None
        self._rows = self._drops = 0
        self._begun = 0.0

    def begin(self, step: str, total: int) -> None:
        self._check()
        if self._task is not None:
            self.bars.refresh()  # show a step that ends quickly too
            self.bars.update(self._task, visible=False)
        self._task = self.bars.add_task(step, total=total or None, counts="")
        self._rows = self._drops = 0
        self._begun = time.monotonic()

    def advance(self, rows: int = 0, drops: int = 0) -> None:
        self._check()
        if self._task is not None:
            self._rows, self._drops = self._rows + rows, self._drops + drops
            seconds = max(time.monotonic() - self._begun, 0.001)
            self.bars.update(self._task, advance=1, counts=_counts(self._rows, self._drops, seconds).lstrip(", "))


def time_of(seconds: float, left: float | None) -> str:
    """Return the remaining time of a step, or the elapsed time if the former is unknown, with a label."""
    return f"{timedelta(seconds=int(seconds))} so far" if left is None else f"{timedelta(seconds=int(left))} left"


def _counts(rows: int, drops: int, seconds: float) -> str:
    counted = f", {drops:,} drops" if drops else ""
    return f"{counted}, {rows:,} rows, {rows / seconds:,.0f} rows/s" if rows else counted


@contextmanager
def watching(bars: bool, check: Callable[[], None] = lambda: None) -> Iterator[Lines | Bars]:
    """Show the progress of a run as bars or as log lines."""
    if not bars:
        yield Lines(check)
        return
    watch = Bars(Console(stderr=True), check)
    with watch.bars:
        yield watch
