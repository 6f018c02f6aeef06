"""The helm and kubectl of the tests: real programs, unpacked once, whoever else does so at the same time."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from k8s import helm


def test_both_programs_are_there_and_run() -> None:
    assert helm.run("version", "--short").stdout.startswith("v4.")
    assert "Client Version: v1." in helm.run("version", "--client", name="kubectl").stdout


def test_programs_are_unpacked_once_by_whoever_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with ThreadPoolExecutor(3) as pool:
        paths = set(pool.map(lambda _: helm.program("helm"), range(3)))
    [path] = paths
    assert sorted(each.name for each in Path(path).parent.iterdir()) == ["helm", "kubectl"]
    assert len(list(Path(path).parent.parent.iterdir())) == 1
    before = Path(path).stat().st_mtime_ns
    assert helm.program("helm") == path
    assert Path(path).stat().st_mtime_ns == before
    assert subprocess.run([path, "version"], capture_output=True, check=False).returncode == 0


def test_elsewhere_the_helm_on_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"helm is not installed: install it, or run .*requirements-tools\.lock"
    ):
        helm.program("helm")
    (tmp_path / "helm").write_text("")
    (tmp_path / "helm").chmod(0o755)
    assert helm.program("helm") == str(tmp_path / "helm")
