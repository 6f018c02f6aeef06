"""A build into the embedded target, killed at any moment: nothing lost, nothing twice, nothing torn."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kit import Place, line, sales

from faults.effort import LONG

CODE = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from faults.effort import LONG
from kit import Place
report = Place(Path(sys.argv[2]), runs=int(sys.argv[3])).build()
sys.exit(report.exit_code)
"""
TESTS = Path(__file__).parent.parent


@pytest.mark.parametrize("seed", range(20 if LONG else 2))
def test_a_build_into_a_file_that_is_killed_loses_nothing(tmp_path: Path, seed: int) -> None:
    """Kill -9 at ten moments between the start and the end, one build after the other, then let one end."""
    pick = random.Random(seed)
    place = Place(tmp_path / "place")
    place.put_golden()
    killed = 0
    for number in range(5):
        place.put(f"sales/{number}.csv", sales(*(line(f"K{number}-{n}", day="2024-02-03") for n in range(200))))
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
    other = Place(place.folder, target=f"duckdb://{tmp_path / 'other.duckdb'}")
    other.settings = {"state": str(tmp_path / "other")}
    assert other.build().error is None
    assert place.marts() == other.marts()
    assert place.build().outcome == "unchanged"
    opened = place.warehouse()
    outcomes = {run.outcome for run in opened.runs(100)}
    opened.close()
    assert outcomes <= {"published", "unchanged", "killed"}
