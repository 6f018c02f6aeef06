"""Measure a command: seconds, CPU seconds and memory of its whole process tree, including daemons."""

import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_STEP, _SHARE = 0.2, 1 / 200
"""Seconds between two polls, and the least share of the time that has passed: a poll of large processes takes long.
Usage of a process after its last poll is not counted."""


@dataclass(frozen=True)
class Measured:
    """Time and memory of one run of a command."""

    seconds: float
    """From start to end."""
    job: float
    """Without the startup, as the command itself reports."""
    cpu: float
    peak: int
    """Bytes: proportional set sizes of all its processes, including their shared memory."""
    told: Mapping[str, Any]
    """The JSON of its last line."""
    output: str


class Failed(Exception):
    """A command failed or timed out."""


def median(runs: Sequence[Measured]) -> Measured:
    """Return the run with the median seconds, with the medians of its other figures."""
    one = sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]
    middle = statistics.median
    return Measured(
        one.seconds,
        middle(run.job for run in runs),
        middle(run.cpu for run in runs),
        int(middle(run.peak for run in runs)),
        one.told,
        one.output,
    )


def measured(command: Sequence[str], environment: Mapping[str, str] | None = None, limit: float = 3600) -> Measured:
    """Run a command to its end. Raise Failed if it fails, or takes longer than ``limit`` seconds."""
    before, began = _children(), time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environment or {})},
        cwd=Path(__file__).parent.parent,
        start_new_session=True,
    )
    watch = _Watch(process.pid, began + limit)
    output, _ = process.communicate()
    seconds = time.perf_counter() - began
    watch.end()
    if process.returncode:
        why = f"took more than {limit:,.0f} s" if watch.late else f"ended with {process.returncode}"
        raise Failed(f"{' '.join(command)} {why}\n{output[-2000:]}")
    told = _told(output)
    # Processes that ended between two polls are counted if their parent waited for them.
    cpu = max(watch.cpu, _children() - before)
    return Measured(seconds, float(told.get("job", seconds)), cpu, watch.peak, told, output)


def number(text: str) -> int:
    """Parse a number with a suffix: 10M is ten million."""
    factor = {"k": 1_000, "M": 1_000_000}.get(text[-1:], 1)
    return int(text.rstrip("kM").replace("_", "").replace(",", "")) * factor


def _children() -> float:
    """Return the CPU seconds of children that have ended, including their own children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _told(output: str) -> dict[str, Any]:
    """Parse the last line as a JSON object; return an empty dict if it is none."""
    last = (output.strip().splitlines() or [""])[-1]
    told = json.loads(last) if last.startswith("{") else {}
    return told if isinstance(told, dict) else {}


class _Watch:
    """Poller of a process tree. Processes that leave the tree (daemons) are still counted."""

    def __init__(self, pid: int, until: float) -> None:
        self._known: dict[psutil.Process, float] = {psutil.Process(pid): 0.0}
        self._until, self._over = until, threading.Event()
        self.peak, self.late = 0, False
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()

    @property
    def cpu(self) -> float:
        return sum(self._known.values())

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _look_on(self) -> None:
        began = time.perf_counter()
        while not self._over.wait(max(_STEP, (time.perf_counter() - began) * _SHARE)):
            self._look()
            if time.perf_counter() > self._until and not self.late:
                self.late = True
                for process in self._known:
                    if process.is_running():
                        process.send_signal(signal.SIGKILL)

    def _look(self) -> None:
        memory, pids = 0, {process.pid for process in self._known}
        for process in psutil.process_iter(["ppid"]):
            if process.info["ppid"] in pids:  # a grandchild listed before its parent is added by the next poll
                self._known.setdefault(process, 0.0)
        for process in list(self._known):
            try:
                times = process.cpu_times()
                self._known[process] = times.user + times.system
                memory += process.memory_full_info().pss
            except psutil.Error:
                continue  # it has ended
        self.peak = max(self.peak, memory)


if __name__ == "__main__":
    found = measured(sys.argv[1:])
    sys.stdout.write(f"{found.output}{found.seconds:.1f} s, CPU {found.cpu:.1f} s, peak {found.peak / 2**30:.2f} GiB\n")
