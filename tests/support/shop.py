"""A place whose builds are those of the command line: what a user types, the code that it ends with, and the sums."""

import json
import os
import shutil
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from typer.testing import Result

from support.kit import Place, marts
from support.retail import MARTS

CASES = Path(__file__).parents[1] / "cases"
Sums = tuple[Decimal, Decimal] | None
"""total_sales of the customers and the sales team mart; None where nothing is published."""


@dataclass
class Built:
    """What a build came to."""

    code: int
    report: dict[str, Any]
    text: str
    """All that a user can read of it: the report, and what went to stderr."""

    def drop(self, key: str) -> dict[str, Any]:
        """Return the report of a drop. Raises KeyError if it does not name it."""
        return {drop["key"]: drop for drop in self.report.get("drops", [])}[key]


@dataclass
class Shop(Place):
    """A place with a policy and a configuration as files; tests are run in its folder."""

    policy_text: str = ""
    config_text: str = ""
    stamp: datetime = datetime(2024, 1, 1, tzinfo=UTC)

    def configure(self) -> None:
        """Write marts.toml, which every command reads in the folder where it is run."""
        places = {"source": str(self.source), "target": self.address, "state": str(self.folder / "state")}
        if "[[source]]" in self.config_text:  # TOML has each name once
            places.pop("source")
            lines = [f'[drops]\nsource = "{self.source}"\n']
        else:
            lines = []
        lines = [f'{name} = "{value}"' for name, value in (places | {"policy": "policy.toml"}).items()] + lines
        (self.folder / "policy.toml").write_text(self.policy_text)
        (self.folder / "marts.toml").write_text("\n".join([*lines, self.config_text]))

    def put_dims(self) -> None:
        """Deliver nine customers, two stores, three sales people."""
        for path in sorted((CASES / "_dims").rglob("*.csv")):
            self.put(path.relative_to(CASES / "_dims").as_posix(), path.read_bytes())

    def built(self, *more: str, as_of: str = "2024-03-31") -> Built:
        self.configure()
        result = marts("build", "--as-of", as_of, "--json", *more, code=None)
        report = json.loads(result.stdout) if result.stdout.startswith("{") else {}
        return Built(result.exit_code, report, f"{result.stdout}\n{result.stderr}\n{result.exception or ''}")

    def command(self, *arguments: str, code: int | None = 0) -> Result:
        """Run a command in the folder of this place."""
        self.configure()
        return marts(*arguments, code=code)

    def sums(self) -> Sums:
        totals = self._sum("customers_data_mart"), self._sum("sales_team_data_mart")
        return None if None in totals else (totals[0] or Decimal(0), totals[1] or Decimal(0))

    def _sum(self, table: str) -> Decimal | None:
        with closing(self.warehouse(read_only=True)) as warehouse:
            live = {item.table for name, item in MARTS.items() if name in warehouse.live()}
            if not warehouse.kind_of(table) or table not in live:  # MySQL has the views from the start
                return None
            ((total,),) = warehouse.execute(f"SELECT coalesce(sum(total_sales), 0) FROM {table}")
        return Decimal(total)

    def remove(self, *keys: str) -> None:
        for key in keys:
            (self.source / key).unlink()

    def again(self, key: str) -> None:
        """Put an object again, byte for byte, later."""
        self.put(key, (self.source / key).read_bytes())

    def move(self, key: str, to: str) -> None:
        data = (self.source / key).read_bytes()
        self.remove(key)
        self.put(to, data)


def lay(shop: Shop, step: Path) -> None:
    """Lay a step of a case over the source; ``remove.txt`` takes keys away, ``again.txt`` puts them again."""
    shop.stamp += timedelta(days=1)
    skipped = {"remove.txt", "again.txt"}
    for name in _keys(step / "remove.txt"):
        shop.remove(name)
    for path in sorted(path for path in step.rglob("*") if path.is_file()):
        key = path.relative_to(step).as_posix()
        if key not in skipped:
            shop.put(key, path.read_bytes())
    for name in _keys(step / "again.txt"):
        shop.again(name)


def _keys(path: Path) -> list[str]:
    return [name for name in path.read_text().split("\n") if name] if path.is_file() else []


def open_shop(folder: Path, case: str) -> tuple[Shop, list[Path]]:
    """Return a place with the dimensions that a case does not bring, and the steps of the case."""
    shop = Shop(folder)
    steps = sorted(path for path in (CASES / case).iterdir() if path.is_dir())
    for kind in sorted((CASES / "_dims").iterdir()):
        if not any((step / kind.name).exists() for step in steps):
            shutil.copytree(kind, shop.source / kind.name)
            for path in (shop.source / kind.name).iterdir():
                os.utime(path, (shop.stamp.timestamp(), shop.stamp.timestamp()))
    return shop, steps
