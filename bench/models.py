"""Measure customer analytics: CPU seconds of each step and table, beside `lifetimes` on the same customers.

``python -m bench.models --customers 1M,5M --folder FOLDER`` builds the retail pack with and without analytics, one task
after the other in one process, until the marts are ready to load. `lifetimes` fits the same models to the same
histories, each counted once, and scores them; it is in requirements-dev.lock.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from bench.drops import SEED, VERSION
from bench.engines.ours import build_until_ready
from bench.measure import measured, number
from jobs.config.settings import Quality, Settings
from marts.retail.generate import LAST_DAY, generate

LINES_PER_CUSTOMER = 4
_HISTORIES = """
    SELECT repeat_days, last_day, age_days, COUNT(*) AS customers FROM read_parquet(?)
    WHERE first_purchase_date IS NOT NULL GROUP BY ALL ORDER BY ALL
"""
_SPENDING = """
    SELECT repeat_days, repeat_value::DOUBLE / repeat_days AS money, COUNT(*) AS customers FROM read_parquet(?)
    WHERE repeat_days > 0 AND repeat_value > 0 GROUP BY ALL ORDER BY ALL
"""


class Recorder:
    """Runner of tasks in this process, one after the other, which adds up their CPU seconds by step and table."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def run(
        self, step: str, function: Callable[[Any], Any], items: Sequence[Any], at_once: int | None = None
    ) -> Iterator[tuple[int, Any]]:
        for index, item in enumerate(items):
            began = time.process_time()
            result = function(item)
            mart = getattr(item, "mart", None)
            self.seconds[getattr(mart, "name", step)] += time.process_time() - began
            yield index, result


def ours(drops: Path, folder: Path, analytics: bool) -> dict[str, Any]:
    """Build until the marts are ready to load. Return CPU seconds by step or table, and in all."""
    target = f"duckdb://{folder}/marts.duckdb"
    settings = Settings(
        source=str(drops),
        target=target,
        state=str(folder / "state"),
        quality=Quality(judge=False),
        analytics=analytics,
    )
    recorder = Recorder()
    build_until_ready(settings, LAST_DAY, recorder.run, lambda: None, lambda _: False)
    return {"steps": recorder.seconds, "cpu": time.process_time()}


def others(folder: Path) -> dict[str, Any]:
    """Fit and score the customers of a build with `lifetimes`. Return CPU seconds by step."""
    from lifetimes import GammaGammaFitter, ModifiedBetaGeoFitter

    warnings.simplefilter("ignore")
    rows, seconds = str(folder / "state" / "marts" / "customer_analytics" / "*" / "*.parquet"), Counter[str]()
    histories = duckdb.sql(_HISTORIES, params=[rows]).df()
    spending = duckdb.sql(_SPENDING, params=[rows]).df()
    own = [histories[name] for name in ("repeat_days", "last_day", "age_days")]
    purchases, money = ModifiedBetaGeoFitter(), GammaGammaFitter()

    def step(name: str, work: Callable[[], Any]) -> None:
        began = time.process_time()
        work()
        seconds[name] += time.process_time() - began

    step("fit purchases", lambda: purchases.fit(*own, weights=histories["customers"]))
    step("fit money", lambda: money.fit(spending["repeat_days"], spending["money"], weights=spending["customers"]))
    step("P(alive)", lambda: purchases.conditional_probability_alive(*own))
    step("purchases to come", lambda: purchases.conditional_expected_number_of_purchases_up_to_time(365, *own))
    return {
        "steps": seconds,
        "parameters": {**purchases.params_.to_dict(), **money.params_.to_dict()},
        "histories": len(histories),
    }


def compare(customers: int, folder: Path) -> None:
    """Print the CPU seconds of a number of customers."""
    drops, out = folder / f"shops-{VERSION}-{customers}", folder / "out" / "models"
    if not (drops / "generated.json").exists():
        generate(drops, customers * LINES_PER_CUSTOMER, SEED, customers=customers, plain=True)
    told = {}
    for name, arguments in (("without", ["--without"]), ("with", []), ("lifetimes", ["--lifetimes"])):
        if name != "lifetimes":
            shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "bench.models", *arguments, "--step", str(drops), "--folder", str(out)]
        result = measured(command)
        told[name] = {**result.told, "peak": result.peak}
    shutil.rmtree(out, ignore_errors=True)
    print(f"\n{customers:,} customers, {customers * LINES_PER_CUSTOMER:,} lines\n")
    print("| | CPU s without analytics | with it |")
    print("|---|---:|---:|")
    without, own = told["without"]["steps"], told["with"]["steps"]
    for name, seconds in own.items():
        print(f"| {name} | {without[name]:.1f} |" if name in without else f"| {name} | |", f"{seconds:.1f} |")
    for title, key, divisor in (("the process", "cpu", 1), ("peak GiB", "peak", 2**30)):
        print(f"| {title} | {told['without'][key] / divisor:.1f} | {told['with'][key] / divisor:.1f} |")
    other = told["lifetimes"]
    print(f"\nlifetimes, {other['histories']:,} different histories, peak {other['peak'] / 2**30:.1f} GiB\n")
    print("\n".join(f"- {name}: {seconds:.1f} CPU s" for name, seconds in other["steps"].items()))
    print(f"- parameters: {other['parameters']}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.models", description=__doc__)
    parser.add_argument(
        "--customers", type=lambda text: [number(part) for part in text.split(",")], default=[1_000_000]
    )
    parser.add_argument("--folder", type=Path, help="keeps the drops for the next time; else a temporary one")
    parser.add_argument("--step", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--without", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--lifetimes", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        work = (
            others(arguments.folder)
            if arguments.lifetimes
            else ours(arguments.step, arguments.folder, not arguments.without)
        )
        print(json.dumps(work))
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        for customers in arguments.customers:
            compare(customers, arguments.folder or Path(temporary))


if __name__ == "__main__":
    main()
