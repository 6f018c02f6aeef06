"""Measure a command: seconds, CPU seconds and memory of its whole process tree, daemons included."""

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

_STEP = 0.2
"""Seconds between two looks. What a process uses after the last look at it is not seen."""


@dataclass(frozen=True)
class Measured:
    """What one run of a command took."""

    seconds: float
    """From its start to its end."""
    job: float
    """Without what starts it, as it says itself."""
    cpu: float
    peak: int
    """Bytes: proportional set sizes of all its processes, and what they wrote to shared memory."""
    told: Mapping[str, Any]
    """The JSON of its last line."""
    output: str


class Failed(Exception):
    """A command did not end well."""


def median(runs: Sequence[Measured]) -> Measured:
    """Return the run with the median of the seconds, with the medians of the rest."""
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
    """Run a command to its end. Raises Failed if it fails, or takes too long."""
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
    # What has ended between two looks is known of those that their parents waited for.
    cpu = max(watch.cpu, _children() - before)
    return Measured(seconds, float(told.get("job", seconds)), cpu, watch.peak, told, output)


def _children() -> float:
    """Return the CPU seconds of children that have ended, and theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _told(output: str) -> dict[str, Any]:
    """Read the JSON of the last line, if it is any."""
    last = (output.strip().splitlines() or [""])[-1]
    told = json.loads(last) if last.startswith("{") else {}
    return told if isinstance(told, dict) else {}


class _Watch:
    """Looks at a process tree now and then. Processes that leave the tree (daemons) stay known."""

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
        while not self._over.wait(_STEP):
            self._look()
            if time.perf_counter() > self._until and not self.late:
                self.late = True
                for process in self._known:
                    if process.is_running():
                        process.send_signal(signal.SIGKILL)

    def _look(self) -> None:
        memory, pids = 0, {process.pid for process in self._known}
        for process in psutil.process_iter(["ppid"]):
            if process.info["ppid"] in pids:  # a grandchild that is seen before its parent is found by the next look
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
