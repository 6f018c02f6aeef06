"""Builds under faults, one change of the drops after the other, and their results.

``python tests/faults/campaign.py --seed 1 --faults 300`` is the long run; the same seed makes the same choices.
"""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.servers import SQL_SERVER, Daemon, version_of_kind

from faults import proxy
from faults.proxy import Fault
from faults.world import STEPS, Build, Reader, World, frozen, now

GOOD_ENDS = {0, 69, 75}
"""Exit codes of a build that met a fault: done, a service failed, try later. Nothing else is a clean end, but for what
the world expects."""
_OVERTAKING = 60
"""Seconds for which a driver is frozen at most."""
_TRIES = 4
"""Builds without a fault, after faults, until one must have succeeded."""


@dataclass
class Result:
    """The result of a campaign."""

    faults: Counter[str] = field(default_factory=Counter)
    builds: int = 0
    rounds: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    checks: int = 0
    torn: list[str] = field(default_factory=list)
    older: list[str] = field(default_factory=list)
    generations: int = 0
    patches: int = 0
    lost: int = 0
    doubled: int = 0
    unclean: list[str] = field(default_factory=list)
    """Builds that ended in another way than they should."""
    seconds: float = 0

    @property
    def injected(self) -> int:
        return sum(self.faults.values())

    @property
    def fine(self) -> bool:
        return not (self.torn or self.older or self.lost or self.doubled or self.unclean)


class Campaign:
    """Changes the drops, builds under faults, then without, and compares; readers poll all the while."""

    def __init__(self, world: World, say: Callable[[str], None] = lambda _: None) -> None:
        self.world, self.result, self._say = world, Result(), say
        self._random = world.random
        self._strikes: dict[str, Callable[[Build], None]] = {
            "driver killed": lambda build: build.process.kill(),
            "worker killed": lambda _: self._kill_worker(),
            "raylet killed": lambda _: world.ray.kill_node(),
            "database killed": lambda _: self._restart(world.db_daemon),
            "S3 server killed": lambda _: self._restart(world.s3_daemon),
            "driver frozen, another build overtakes": self._overtake,
            "driver frozen": lambda build: self._freeze(build.process.pid),
            "worker frozen": lambda _: self._freeze_worker(),
            "database frozen": lambda _: self._freeze(world.db_daemon.process.pid),
            "S3 server frozen": lambda _: self._freeze(world.s3_daemon.process.pid),
            "driver asked to stop": lambda build: build.process.terminate(),
            "state deleted": lambda _: self._delete_state(),
            "a second build": self._second_build,
        }
        self._seconds: list[Build] = []
        self._state_deleted = False
        """Files of the state may lack: they must be made again while the objects are there."""
        self.last: Build | None = None

    @property
    def ended(self) -> int | None:
        """The exit code of the last build."""
        return self.last.process.returncode if self.last else None

    @property
    def output(self) -> str:
        """The log of the last build."""
        return "".join(self.last.text) if self.last else ""

    def run(self, faults: int) -> Result:
        """Go on until so many faults were injected."""
        started = time.monotonic()
        self.world.begin()
        self.settle()
        self.last = None
        readers = [Reader(self.world, snapshot) for snapshot in (False, True)]
        try:
            while self.result.injected < faults:
                self.round()
        finally:
            for reader in readers:
                reader.stop()
            self.result.checks = sum(reader.checks for reader in readers)
            self.result.torn = [text for reader in readers for text in reader.torn]
            self.result.older = [text for reader in readers for text in reader.older]
            self.result.seconds = time.monotonic() - started
        return self.result

    def round(self) -> None:
        """One change, some builds under faults, then builds until one succeeds; then the marts are compared."""
        self.result.rounds += 1
        what = self.world.change()
        self.last = None
        for _ in range(self._random.choice([1, 1, 2])):
            self._say(f"{now()} round {self.result.rounds} ({what}): {self.faulty()}")
        self.settle()
        wrong = f"; WRONG: {self.result}" if not self.result.fine else ""
        self._say(f"{now()} round {self.result.rounds}: {self.result.injected} faults so far{wrong}")

    def faulty(self) -> str:
        """One build under one to three faults, each somewhere else."""
        pick = self._random
        db = pick.choice([None, self._db_fault(), self._db_fault()])
        s3 = pick.choice([None, self._s3_fault(), self._s3_fault()])
        strikes = sorted(set(self._strikes) - ({"state deleted"} if self.world.only_copies else set()))
        strike = pick.choice(strikes) if not (db or s3) or pick.random() < 0.6 else ""
        step, delay = pick.choice(STEPS), pick.choice([0, 0, pick.random()])
        return self.attempt(db, s3, strike, step, delay)

    def attempt(
        self, db: Fault | None = None, s3: Fault | None = None, strike: str = "", step: str = "", delay: float = 0
    ) -> str:
        """Run a build under the faults given; count those that struck."""
        world = self.world
        world.db_proxy.fault, world.s3_proxy.fault = db, s3
        reached = threading.Event()
        build = self._start()
        build.watchers.append(lambda begins: reached.set() if begins == step else None)
        while strike and not reached.wait(0.02) and build.process.poll() is None:
            pass
        if strike and reached.is_set():
            time.sleep(delay)
            if build.process.poll() is None:
                # In this thread: Ray starts nodes in no other.
                self._strikes[strike](build)
                self.result.faults[strike] += 1
        self.last = build
        self._end(build, strike)
        world.db_proxy.fault = world.s3_proxy.fault = None
        for other in self._seconds:
            self._end(other, strike)
        self._seconds.clear()
        for fault in (db, s3):
            if fault and fault.struck:
                self.result.faults[fault.name] += 1
        named = [f"{fault.name} ({fault.struck}x)" for fault in (db, s3) if fault]
        return ", ".join([*named, *([f"{strike} at {step}"] if strike else [])]) + f" -> {build.process.returncode}"

    def _start(self) -> Build:
        self.result.builds += 1
        return self.world.build()

    def _end(self, build: Build, strike: str) -> None:
        """Wait for a build, and look at how it ended."""
        try:
            code = build.wait()
        except subprocess.TimeoutExpired:
            self.result.unclean.append(f"hangs: {''.join(build.text)[-1500:]}")
            return
        killed = code == -9 and strike == "driver killed"
        # When the node dies on which a driver stands, Ray ends the driver; the nodes of its tasks may die.
        self.result.ends["killed" if killed else str(code)] += 1
        if code not in GOOD_ENDS | self.world.ends and not killed:
            self.result.unclean.append(f"ends with {code}: {''.join(build.text)[-1500:]}")

    def settle(self) -> None:
        """Build without faults until one succeeds, if the last did not, and compare."""
        world = self.world
        done = self.last is not None and self.last.process.returncode in world.ends and not self._state_deleted
        self._state_deleted = False
        for attempt in range(0 if done else _TRIES):
            build = self._start()
            self._end(build, "")
            if build.process.returncode in world.ends:
                break
            if attempt == _TRIES - 1:
                self.result.unclean.append(f"no build succeeds any more: {''.join(build.text)[-1500:]}")
        self.result.generations, self.result.patches = world.generations()
        lost, doubled = world.compare()
        self.result.lost += lost
        self.result.doubled += doubled
        self.result.unclean += [f"the rows of {key} do not add up" for key in world.miscounted()]

    # What can be done to a build

    def _db_fault(self) -> Fault:
        pick = self._random
        return pick.choice(
            [
                lambda: proxy.commit_not_sent(pick.randrange(6)),
                lambda: proxy.commit_not_answered(pick.randrange(6)),
                lambda: proxy.publish_not_answered(True),
                lambda: proxy.publish_not_answered(False),
                lambda: proxy.cut_after(pick.randrange(30_000)),
                lambda: proxy.refuse(pick.randrange(1, 4)),
                lambda: proxy.stall(6, pick.randrange(30_000)),
            ]
        )()

    def _s3_fault(self) -> Fault:
        pick = self._random
        return pick.choice(
            [
                lambda: proxy.answered("S3 answers 503", proxy.SLOW_DOWN, pick.randrange(20), pick.randrange(1, 6)),
                lambda: proxy.body_cut(pick.randrange(60_000)),
                lambda: proxy.stall(4, pick.randrange(60_000)),
                lambda: proxy.cut_after(pick.randrange(100_000)),
                *([self.overwrite] if {*self.world.drops} - self.world.elsewhere else []),
            ]
        )()

    def overwrite(self, new: bool = False) -> Fault:
        """Replace a drop while it is read; a ``new`` one is sure to be read.

        Not one that was moved or put back a moment ago: a build that has not seen it there sees a withdrawal.
        """
        world = self.world
        key = max(world.drops) if new else self._random.choice(sorted({*world.drops} - world.elsewhere))
        drop = world.new_drop()

        def replace() -> None:
            world.put(key, drop)
            world.expect()

        return proxy.meanwhile("drop replaced while it is read", f"GET /drops/in/{key} ".encode(), 0, replace)

    def _some_worker(self) -> list[psutil.Process]:
        """Return one worker, if there is any."""
        workers = sorted(self.world.ray.workers(), key=lambda process: process.pid)
        return [self._random.choice(workers)] if workers else []

    def _kill_worker(self) -> None:
        for worker in self._some_worker():
            with contextlib.suppress(psutil.Error):
                worker.kill()

    def _freeze_worker(self) -> None:
        for worker in self._some_worker():
            self._freeze(worker.pid)

    def _freeze(self, pid: int) -> None:
        with contextlib.suppress(psutil.Error), frozen(pid, self._random.choice([1, 3, 6])):
            pass

    def _restart(self, daemon: Daemon) -> None:
        daemon.kill()
        time.sleep(self._random.random() * 2)
        daemon.start()

    def _delete_state(self) -> None:
        """Remove files of the state, while a build works on it."""
        self._state_deleted = True
        client = self.world.client
        keys = [e["Key"] for e in client.list_objects_v2(Bucket="drops", Prefix="state/").get("Contents", [])]
        for key in self._random.sample(keys, min(len(keys), self._random.choice([1, 5, len(keys)]))):
            client.delete_object(Bucket="drops", Key=key)

    def _overtake(self, build: Build) -> None:
        """Freeze a build until another has run; its lock is lost after the lease.

        Ray leaves the CPUs of its running tasks to a frozen driver. If these are all that the cluster has, the other
        build waits for them (until ``ray.stalled_seconds``): the first one continues after a minute.
        """
        other = self._start()
        with contextlib.suppress(psutil.Error, subprocess.TimeoutExpired), frozen(build.process.pid, 0):
            other.process.wait(_OVERTAKING)
        self._end(other, "")

    def _second_build(self, _: Build) -> None:
        self._seconds.append(self._start())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--server", choices=("mariadb", "mysql"), default=SQL_SERVER)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))
    with (
        tempfile.TemporaryDirectory(prefix="faults-", dir="/tmp") as folder,
        World(Path(folder), arguments.seed, arguments.server) as world,
    ):
        campaign = Campaign(world, lambda text: print(text, flush=True))
        try:
            result = campaign.run(arguments.faults)
        finally:  # a part counts, too
            print(f"database: {version_of_kind(arguments.server)}")
            print(report(campaign.result, arguments.seed), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({**vars(result), "seed": arguments.seed}, indent=1))
    sys.exit(0 if result.fine else 1)


def report(result: Result, seed: int) -> str:
    """Write the table."""
    rows = [
        ("faults injected", result.injected),
        ("builds", result.builds),
        ("changes of the drops, each compared with the row-by-row calculation", result.rounds),
        ("generations of marts", result.generations),
        ("of these, published by exchanging rows", result.patches),
        ("reader checks", result.checks),
        ("rows lost", result.lost),
        ("rows duplicated or wrong", result.doubled),
        ("torn reads", len(result.torn)),
        ("reads of an older mart", len(result.older)),
        ("builds that hung, or ended otherwise than documented", len(result.unclean)),
    ]
    lines = [f"seed {seed}, {result.seconds / 60:.0f} minutes", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {count:,} |" for name, count in rows]
    lines += ["", "| fault | times |", "|---|---|"]
    lines += [f"| {name} | {count:,} |" for name, count in sorted(result.faults.items())]
    lines += ["", "ends of builds: " + ", ".join(f"{end}: {count}" for end, count in sorted(result.ends.items()))]
    lines += ["", *result.torn[:5], *result.older[:5], *result.unclean[:5]]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
