"""Interface of every engine: a process of its own that reads drops and writes its outputs.

`python -m bench.engines.NAME DROPS OUT AS_OF` reads ``DROPS/{sales,customers,sales_team,stores}/**.csv`` and writes

========================  =================================================================================
OUT/lines/*.parquet       clean lines: all columns of the drops, typed, money as decimals or integer cents
OUT/quarantine/*.parquet  rows that break a rule, with the drop, their text and the first broken rule
OUT/customers/*.parquet   the customers mart, every column, money exact
OUT/sales_team/*.parquet  the sales team mart
========================  =================================================================================

An engine of the banking pack (`python -m bench.banking.NAME`) reads the seven kinds of drops of a bank, and writes
OUT/quarantine and a folder for each of the pack's marts.

The last line printed is JSON: ``job`` is the seconds from when the engine was ready to read until the end; ``cpu`` and
``peak`` are CPU seconds and bytes of this process alone, which for Martwright and Ray is the driver.
"""

import argparse
import json
import re
import resource
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

CORES = 2
INACTIVE_AFTER_DAYS = 180
LOYAL_PURCHASES = 10
HIGH_VALUE = 50_000
INCENTIVE_PERCENT = 1


@dataclass(frozen=True)
class Order:
    """The work of an engine: its drops, output folder, as_of and number of cores."""

    drops: Path
    out: Path
    as_of: date
    cores: int
    pack: str = "retail"
    """Name of the shipped pack that the drops are of."""

    def sales(self) -> str:
        """Return the glob of all sales drops."""
        return str(self.drops / "sales" / "**" / "*.csv")

    def dimension(self, kind: str) -> Path:
        """Return the newest drop of a dimension: it contains the full table."""
        return max((self.drops / kind).glob("*.csv"), key=lambda path: (path.stat().st_mtime, path.name))

    def delivered(self, kind: str) -> list[Path]:
        """List the drops of a kind in order of delivery."""
        return sorted((self.drops / kind).rglob("*.csv"), key=_delivery)

    def snapshots(self, kind: str) -> list[tuple[date, Path]]:
        """List the snapshots of a kind up to as_of, by their day and then in order of delivery."""
        dated = [(_day_of(str(path.relative_to(self.drops))), path) for path in self.delivered(kind)]
        return sorted(((day, path) for day, path in dated if day <= self.as_of), key=lambda item: item[0])

    def folder(self, name: str) -> Path:
        """Create and return an output folder."""
        made = self.out / name
        made.mkdir(parents=True, exist_ok=True)
        return made


def _delivery(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, str(path)


def _day_of(key: str) -> date:
    """Parse the first date in a key: YYYY-MM-DD or YYYY/MM/DD."""
    year, month, day = re.findall(r"([0-9]{4})[-/]([0-9]{2})[-/]([0-9]{2})", key)[0]
    return date(int(year), int(month), int(day))


def main(
    job: Callable[[Order, Any], None],
    ready: Callable[[Order], AbstractContextManager[Any]] = nullcontext,
) -> None:
    """Run an engine: ``ready`` starts it, ``job`` does the work with the value that ``ready`` yields."""
    parser = argparse.ArgumentParser()
    parser.add_argument("drops", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("as_of", type=date.fromisoformat)
    parser.add_argument("--cores", type=int, default=CORES)
    parser.add_argument("--pack", default="retail")
    order = Order(**vars(parser.parse_args()))
    with ready(order) as engine:
        began = time.perf_counter()
        job(order, engine)
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"job": seconds, "cpu": time.process_time(), "peak": peak}))
