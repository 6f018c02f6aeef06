"""Killed or repeated at any moment: nothing lost, nothing twice, nothing torn."""

import hashlib
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from support.kit import Inline, Place, line, sales
from support.servers import MariaDB

from faults.effort import LONG

CODE = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from faults.effort import LONG
from faults.test_killed import by_day
report = by_day(Path(sys.argv[2]), int(sys.argv[3])).build()
sys.exit(report.exit_code)
"""
TESTS = Path(__file__).parent.parent


def by_day(folder: Path, runs: int = 0) -> Place:
    """Return a place whose current month is rolled up by day."""
    return Place(folder, runs=runs, as_of=date(2024, 2, 29), settings={"limits": {"rollup_lines": 100}})


@pytest.mark.parametrize("seed", range(20 if LONG else 2))
def test_a_build_into_a_file_that_is_killed_loses_nothing(tmp_path: Path, seed: int) -> None:
    """Kill -9 at ten moments between the start and the end, one build after the other, then let one end."""
    pick = random.Random(seed)
    place = by_day(tmp_path / "place")
    place.put_golden()
    killed = 0
    for number in range(5):
        rows = (line(f"K{number}-{n}", day=f"2024-02-0{3 + number - n % 2}") for n in range(200))
        place.put(f"sales/{number}.csv", sales(*rows))
        runs = str(number * 10 + pick.randrange(10))
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, str(TESTS), str(place.folder), runs], stderr=subprocess.DEVNULL
        )
        begun = place.folder / "state/catalog"
        while number == 0 and not begun.exists() and process.poll() is None:
            time.sleep(0.005)
        time.sleep(pick.random() * 1.2 if number else pick.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed
    place.runs = 1000
    assert place.build().error is None
    place.put("sales/last.csv", sales(line("last", day="2024-02-08")))
    assert place.build().error is None
    other = Place(place.folder, target=f"duckdb://{tmp_path / 'other.duckdb'}", as_of=place.as_of)
    other.settings = {"state": str(tmp_path / "other")}
    assert other.build().error is None
    assert place.marts() == other.marts()
    assert list((place.folder / "state/facts").glob("month=2024-02/day-*"))
    assert place.build().outcome == "unchanged"
    opened = place.warehouse()
    outcomes = {run.outcome for run in opened.runs(100)}
    opened.close()
    assert outcomes <= {"published", "unchanged", "killed"}


class Twice(Inline):
    """Runs each task twice, as Ray does when it loses a worker that had finished; both must write the same."""

    def __call__(
        self, step: str, function: Callable[[Any], Any], items: Sequence[Any], at_once: int | None = None
    ) -> Iterator[tuple[int, Any]]:
        for index, item in enumerate(items):
            first = pickle.dumps(function(item))
            files = contents(self.state)
            assert pickle.dumps(function(item)) == first, step
            assert contents(self.state) == files, step
            yield index, pickle.loads(first)

    state: Path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("target", ["duckdb", "mariadb"])
def test_a_task_that_runs_twice_writes_the_same_thing(
    place: Place, target: str, request: pytest.FixtureRequest
) -> None:
    if target == "mariadb":
        server: MariaDB = request.getfixturevalue("mariadb")
        place.target = server.make_database("twice")
    place.put_golden()
    rows = [line(f"W{n}", day=f"2024-0{1 + n % 3}-05", customer=1 + n % 4) for n in range(300)]
    place.put("sales/many.csv", sales(*rows, line("bad", day="never"), line("worse", person=0)))
    place.settings = {"limits": {"split_bytes": 2048, "finish_rows": 4, "rollup_lines": 20}}
    once = Place(place.folder, target=f"duckdb://{place.folder / 'once.duckdb'}")
    once.settings = {**place.settings, "state": str(place.folder / "once")}
    assert once.build().error is None
    place.runner = Twice()
    place.runner.state = place.folder / "state"
    report = place.build()
    assert (report.error, report.totals.rows_read, report.totals.quarantined) == (None, 25 + 302, 2)
    assert place.marts() == once.marts()
