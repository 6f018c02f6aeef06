"""A build with Ray leaves nothing in the temporary folder, one that was killed included."""

import os
import subprocess
import sys
import time
from pathlib import Path

from support.kit import UNJUDGED, Place
from support.servers import MariaDB

MARTS = str(Path(sys.executable).parent / "marts")


def test_builds_leave_no_folder_and_the_next_one_removes_that_of_a_killed_one(tmp_path: Path, mariadb: MariaDB) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "RAY_TMPDIR": "/tmp", **UNJUDGED}
    with_ray = {**environment, "MARTS_RAY__FEW_TASKS": "0"}
    target = mariadb.make_database("scratch")
    place = Place(tmp_path, target)
    place.put_golden()
    (tmp_path / "policy.toml").write_text("max_unknown_ratio = 0.2\n")
    command = [MARTS, "build", *place.flags, "--as-of", "2024-03-31", "--policy", "policy.toml", "--json"]
    killed = subprocess.Popen(command, stdout=-3, stderr=-3, cwd=tmp_path, env=environment)
    while killed.poll() is None and not (tmp_path / "state/lines").exists():
        time.sleep(0.01)
    killed.kill()
    assert killed.wait() == -9
    assert len(list(temporary.glob("marts-*"))) == 1
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=with_ray, check=False)
    assert done.returncode == 0, done.stderr
    assert '"start Ray"' in done.stdout
    assert list(temporary.glob("marts-*")) == []
