"""Storage traffic of a build by step: requests, and bytes read and written, as counted by the server.

`python -m bench.traffic --lines 10000000` uploads the drops to a private SeaweedFS, builds with the state there too,
and prints a table. docs/scaling.md is based on these figures.
"""

import argparse
import os
import re
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import drops, loads
from bench.packs import LEFT_OUT
from jobs.adapters.ray.cluster import Cluster
from jobs.adapters.warehouse.open import open_warehouse
from jobs.config.load import load
from jobs.config.settings import RaySettings
from jobs.run.context import Request, Run
from jobs.run.pipeline import build
from marts.policy import Policy

_REQUESTS = re.compile(r'^SeaweedFS_s3_request_total\{.*type="([^"]+)".*\} (\S+)$', re.MULTILINE)
_BYTES = re.compile(r"^SeaweedFS_s3_bucket_traffic_(received|sent)_bytes_total\{.*\} (\S+)$", re.MULTILINE)


class Steps:
    """Progress observer of a run; records the server's counts of each step."""

    def __init__(self, count: Callable[[], Counter[str]]) -> None:
        self._count, self._before, self._step = count, count(), ""
        self.counted: dict[str, Counter[str]] = {}

    def begin(self, step: str, total: int) -> None:
        now = self._count()
        if self._step:
            self.counted.setdefault(self._step, Counter()).update(now - self._before)
        self._before, self._step = now, step

    def advance(self, rows: int = 0, drops: int = 0) -> None: ...


def counted(address: str) -> Counter[str]:
    """Read the counters of a SeaweedFS: requests by kind, bytes as ``received`` and ``sent``."""
    with urllib.request.urlopen(address, timeout=10) as answer:
        text = answer.read().decode()
    found: Counter[str] = Counter()
    for name, value in (*_REQUESTS.findall(text), *_BYTES.findall(text)):
        found[name] += int(float(value))
    return found


def traffic(source: Path, cores: int) -> dict[str, Counter[str]]:
    """Build from a bucket that also holds the state, until both marts are live in an embedded database.

    Return counts by step.
    """
    servers = loads.servers()
    with tempfile.TemporaryDirectory(prefix="bench-s3-") as folder:
        port = servers.free_port()
        store, daemon = servers.seaweed(Path(folder), more=[f"-metricsPort={port}"])
        daemon.start()
        try:
            store.upload(source, store.make_bucket("bench"), "drops")
            os.environ.update(store.environment)  # the only way in which its credentials reach the workers
            places = {"source": "s3://bench/drops", "target": f"duckdb://{folder}/marts.duckdb"}
            less: dict[str, Any] = {"quality": {"judge": False}, "analytics": False, "leave_out": LEFT_OUT["retail"]}
            settings = load(None, {**places, "state": "s3://bench/state", **less})
            warehouse = open_warehouse(settings.target or "", settings.mysql, settings.domain)
            steps = Steps(lambda: counted(f"http://127.0.0.1:{port}/metrics"))
            with Cluster(RaySettings(address="local", cpus=cores)) as cluster:
                request = Request(settings, Policy(), drops.TODAY, "bench", lambda: datetime.now(UTC))
                report = build(Run(request, cluster.run, warehouse, steps, cluster.start))
            steps.begin("", 0)
            warehouse.close()
            if report.error:
                raise SystemExit(str(report.error))
        finally:
            daemon.kill()
    return steps.counted


def compare(source: Path, cores: int) -> None:
    """Print the storage traffic of each step."""
    print("| step | read MB | written MB | requests |")
    print("|---|---:|---:|---|")
    for step, found in traffic(source, cores).items():
        asked = ", ".join(f"{count:,} {kind}" for kind, count in sorted(found.items()) if kind not in _SIZES)
        print(f"| {step} | {found['sent'] / 1e6:,.1f} | {found['received'] / 1e6:,.1f} | {asked} |", flush=True)


_SIZES = ("received", "sent")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.traffic", description=__doc__)
    parser.add_argument("--lines", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "bench")
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_args()
    compare(drops.history(given.folder, given.lines), given.cores)
