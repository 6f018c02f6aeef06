"""What a process needs only while it works leaves no folder behind, however the process ends."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from jobs.adapters.ray.tasks import Task
from jobs.runtime import scratch
from marts.compute import engine as calculate
from marts.errors import ServiceError

ROOT = Path(__file__).parents[3]
HOLD = "import sys; from jobs.runtime import scratch; print(scratch.folder(), flush=True); sys.stdin.read()"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return an empty temporary folder of the system, and a process that has asked for no folder."""
    scratch.remove()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spill = calculate._spill_to
    yield tmp_path
    scratch.share(None)
    scratch.remove()
    calculate.spill_to(spill)


def holder(temporary: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that has a folder, and lives until its input ends."""
    environment = {**os.environ, "TMPDIR": str(temporary)}
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=-1, stdout=-1, text=True, cwd=ROOT, env=environment)
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def test_a_process_that_ends_removes_its_folder_with_all_that_is_in_it(temporary: Path) -> None:
    process, folder = holder(temporary)
    (folder / "spill").mkdir()
    (folder / "spill/rows").touch()
    assert process.communicate() == ("", None)
    assert list(temporary.iterdir()) == []


def test_the_folder_of_a_living_process_stays_and_that_of_a_killed_one_is_removed(temporary: Path) -> None:
    process, folder = holder(temporary)
    scratch.sweep()
    assert folder.is_dir()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (folder / "spill").mkdir()
    (folder / "spill/rows").touch()
    scratch.sweep()
    assert list(temporary.iterdir()) == []


def test_what_is_not_exactly_a_scratch_folder_is_not_touched(temporary: Path) -> None:
    (temporary / "elsewhere").mkdir()
    (temporary / "elsewhere/rows").touch()
    (temporary / "marts-scratch-afile123").touch()
    (temporary / "marts-scratch-alink123").symlink_to(temporary / "elsewhere")
    for name in ("marts-scratch-", "marts-scratch-abcdefghi", "marts-scratch-UPPER123", "marts-abcd1234"):
        (temporary / name).mkdir()
    before = sorted(temporary.rglob("*"))
    scratch.sweep()
    assert sorted(temporary.rglob("*")) == before


def test_the_folder_of_another_user_is_not_touched(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (temporary / "marts-scratch-abcd1234").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    scratch.sweep()
    assert [path.name for path in temporary.iterdir()] == ["marts-scratch-abcd1234"]


def test_the_folder_is_for_this_user_alone_and_the_same_each_time() -> None:
    folder = scratch.folder()
    assert (folder.stat().st_mode & 0o777, scratch.folder()) == (0o700, folder)


def test_a_folder_that_is_released_is_created_again_at_the_same_place_and_kept_while_it_has_files() -> None:
    folder = scratch.folder()
    scratch.release()
    assert not folder.exists()
    assert scratch.folder() == folder
    (folder / "rows").touch()
    scratch.release()
    assert (folder / "rows").exists()


def test_a_worker_of_this_machine_uses_the_folder_of_the_build(tmp_path: Path) -> None:
    results = list(Task(lambda _: str(scratch.folder()), [(0, None)], {}, 30, tmp_path)())
    assert b"marts-scratch" not in results[0]["result"][0].as_py()
    assert str(tmp_path).encode() in results[0]["result"][0].as_py()


def test_a_worker_of_another_machine_leaves_no_folder_after_its_task(temporary: Path) -> None:
    results = list(Task(lambda _: str(scratch.folder()), [(0, None)], {}, 30)())
    assert b"marts-scratch" in results[0]["result"][0].as_py()
    assert list(temporary.iterdir()) == []


def test_a_temporary_folder_that_takes_nothing_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(ServiceError, match=r"missing: cannot create a scratch folder") as caught:
        scratch.folder()
    assert "TMPDIR" in caught.value.hint


def test_a_calculation_creates_a_folder_only_when_it_spills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calculate, "MEMORY", "50MB")
    calculate.spill_to(str(tmp_path))
    with calculate.running({}, {}) as engine:
        assert engine.execute("SELECT 1").fetchall() == [(1,)]
        assert list(tmp_path.iterdir()) == []
        engine.execute("CREATE TABLE t AS SELECT repeat('x', 100) || range AS s FROM range(1_000_000) ORDER BY s")
        assert [path.name.startswith("marts-spill-") for path in tmp_path.iterdir()] == [True]
        engine.execute("DROP TABLE t")
    with pytest.raises(duckdb.Error), calculate.running({}, {}) as engine:  # the engine is not used again
        engine.execute("SELECT wrong")
    assert list(tmp_path.iterdir()) == []


def test_a_calculation_that_does_not_fit_into_its_memory_names_the_settings_of_its_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calculate, "MEMORY", "20MB")
    calculate.spill_to(str(tmp_path))
    needed = pytest.raises(ServiceError, match="needs more memory than its limit of 20MB")
    with needed as caught, calculate.running({}, {}) as engine:
        engine.execute("SELECT list(range::VARCHAR) FROM range(10_000_000)")
    assert "limits.rollup_lines" in caught.value.hint
    assert "limits.finish_rows" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
