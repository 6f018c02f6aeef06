"""What tests share: places to work in, builds without a cluster, and a way to compare marts."""

import csv
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path
from typing import Any

from typer import testing
from typer.main import get_command
from typer.testing import CliRunner, Result

from jobs.adapters.warehouse.open import open_warehouse
from jobs.cli.app import app
from jobs.config.load import load
from jobs.config.secret import Vault
from jobs.config.settings import Settings
from jobs.operations import vault
from jobs.ports.warehouse import Warehouse
from jobs.report.run_report import RunReport
from jobs.run.context import Request, Run
from jobs.run.lifecycle import run
from jobs.run.pipeline import build
from marts.errors import MartsError
from marts.pack import Mart
from marts.policy import Policy
from support.retail import ALL, MARTS

vars(testing)["_get_command"] = cache(get_command)  # made once: that takes longer than most commands do

GOLDEN = Path(__file__).parents[1] / "golden"
AS_OF = date(2024, 3, 31)

SALES = "transaction_id,customer_id,store_id,product_name,sales_date,sales_person_id,price,quantity,total_cost"
CUSTOMERS = """\
customer_id,first_name,last_name,address,pincode,phone_number,customer_joining_date
1,Asha,Rao,"1, Lake Road",10001,+00 1,2023-01-01
2,Ben,Iyer,,,,
3,Chitra,Das,,,,
4,Dev,Nair,,,,
5,Eva,Roy,,,,
6,Farid,Khan,,,,
"""
SALES_TEAM = """\
id,first_name,last_name,manager_id,is_manager,address,pincode,joining_date
1,Rahul,Verma,,Y,,,
2,Priya,Singh,1,N,,,
3,Amit,Sharma,1,N,,,
4,Mina,Paul,1,N,,,
"""
STORES = """\
id,address,store_pincode,store_manager_name,store_opening_date,reviews
121,,,,,
122,,,,,
123,,,,,
"""
GOLDEN_POLICY = Policy(max_unknown_ratio=0.2, max_bad_rows=0)
UNJUDGED = {"MARTS_QUALITY__JUDGE": "false"}
"""Variables of commands that are not about quality: it takes seconds per build."""


class Quiet:
    """Nobody watches."""

    def begin(self, step: str, total: int) -> None:
        pass

    def advance(self, rows: int = 0, drops: int = 0) -> None:
        pass


@dataclass
class Inline:
    """Runs tasks in this process, one after the other; everything passes through pickle, as with Ray."""

    tasks: dict[str, int] = field(default_factory=dict)
    order: Callable[[list[int]], list[int]] = list

    def __call__(
        self, step: str, function: Callable[[Any], Any], items: Sequence[Any], at_once: int | None = None
    ) -> Iterator[tuple[int, Any]]:
        self.tasks[step] = self.tasks.get(step, 0) + len(items)
        for index in self.order(list(range(len(items)))):
            item = pickle.loads(pickle.dumps((function, items[index])))
            yield index, pickle.loads(pickle.dumps(item[0](item[1])))


def new_target(folder: Path) -> str:
    """Return the target of a place that names none; `on_the_server` gives another one."""
    return f"duckdb://{folder / 'marts.duckdb'}"


@dataclass
class Place:
    """A source, a target and a state in a folder of a test."""

    folder: Path
    target: str = ""
    policy: Policy = GOLDEN_POLICY
    runner: Any = field(default_factory=Inline)
    as_of: date = AS_OF
    settings: dict[str, Any] = field(default_factory=dict)
    judge: bool = False
    """Let Great Expectations judge: a second per build, for the tests that are about it."""
    runs: int = 0
    stamp: datetime = datetime(2024, 1, 1, tzinfo=UTC)

    @property
    def source(self) -> Path:
        return self.folder / "drops"

    def put(self, key: str, content: str | bytes, delivered: datetime | None = None) -> Path:
        """Deliver a drop; each is delivered an hour after the one before."""
        path = self.source / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.stamp += timedelta(hours=1)
        moment = (delivered or self.stamp).timestamp()
        os.utime(path, (moment, moment))
        return path

    def put_dimensions(self) -> None:
        self.put("customers/customers.csv", CUSTOMERS)
        self.put("sales_team/team.csv", SALES_TEAM)
        self.put("stores/stores.csv", STORES)

    def like(self, other: "Place") -> None:
        """Take over all that was put and built in another place, whose target is a file in its folder.

        Its drops are linked: a copy would be another version.
        """
        shutil.copytree(other.folder, self.folder, ignore=shutil.ignore_patterns("drops"), dirs_exist_ok=True)
        shutil.copytree(other.source, self.source, copy_function=os.symlink)
        held = {name: value for name, value in vars(other).items() if name not in ("folder", "runner")}
        vars(self).update(deepcopy(held))

    def put_golden(self) -> None:
        """Deliver the golden case: two drops, in turn."""
        self.put_dimensions()
        self.put("sales/golden.csv", (GOLDEN / "golden_input.csv").read_bytes())
        self.put("sales/golden_2.csv", (GOLDEN / "golden_input_2.csv").read_bytes())

    def publish_golden(self) -> None:
        """Deliver the golden case and build it."""
        self.put_golden()
        assert self.build().outcome == "published"

    @property
    def address(self) -> str:
        """The target, as people type it."""
        return self.target or new_target(self.folder)

    @property
    def flags(self) -> list[str]:
        """Source, target and state, as people type them."""
        return ["--source", str(self.source), "--target", self.address, "--state", str(self.folder / "state")]

    def configured(self) -> Settings:
        places = {"source": str(self.source), "target": self.address, "state": str(self.folder / "state")}
        given = {**places, "quality": {"judge": self.judge}, **self.settings}
        variables = sorted((name, value) for name, value in os.environ.items() if name.startswith("MARTS_"))
        if Path("marts.toml").exists() or any("SECRETS" in name for name, _ in variables):  # these files may change
            return load(None, given)
        return _loaded(pickle.dumps(given), tuple(variables))

    def warehouse(self, read_only: bool = False, settings: Settings | None = None) -> Warehouse:
        settings = settings or self.configured()
        return open_warehouse(settings.target or "", settings.mysql, settings.domain, read_only)

    def build(self, **options: Any) -> RunReport:
        """Run a build; the clock stands still."""
        request = self._request(options)
        warehouse = self.warehouse(settings=request.settings)
        try:
            return build(self._run(request, warehouse, options))
        finally:
            warehouse.close()

    def run(self, **options: Any) -> RunReport:
        """Run a build as `marts build` does: it sends notices."""
        request = self._request(options)

        @contextmanager
        def opened() -> Iterator[Warehouse]:
            with closing(self.warehouse()) as warehouse:
                warehouse.seals()  # as `marts build` does, to check the credentials
                yield warehouse

        return run(request, opened, lambda warehouse: self._run(request, warehouse, options))

    def _request(self, options: dict[str, Any]) -> Request:
        self.runs += 1
        clock = options.pop("clock", lambda: datetime(2024, 4, 1, tzinfo=UTC) + timedelta(minutes=self.runs))
        policy, as_of = options.pop("policy", self.policy), options.pop("as_of", self.as_of)
        asked = {name: options.pop(name) for name in ("rebuild", "rescan", "submission") if name in options}
        return Request(self.configured(), policy, as_of, f"run-{self.runs}", clock, **asked)

    def _run(self, request: Request, warehouse: Warehouse, options: dict[str, Any]) -> Run:
        return Run(request, self.runner, warehouse, Quiet(), **options)

    def mart(self, name: str) -> list[tuple[Any, ...]]:
        """Read a live mart, in the order of its key, without run_id and as_of_date."""
        return self.marts([name])[name]

    def marts(self, names: Iterable[str] = tuple(MARTS)) -> dict[str, list[tuple[Any, ...]]]:
        """Read live marts as `mart` does, in one connection."""
        with closing(self.warehouse()) as warehouse:
            return {name: _rows(warehouse, ALL.marts[name]) for name in names}

    def drops(self) -> dict[str, tuple[str, str]]:
        """Return state and reason of each drop in the ledger, by key."""
        warehouse = self.warehouse(read_only=True)
        try:
            return {record.object_key: (record.state, record.reason) for record in warehouse.drops()}
        finally:
            warehouse.close()


Once = Callable[[Callable[[Place], Any], Place], None]
"""What the fixture `once` gives: it fills a place by a function."""


def _rows(warehouse: Warehouse, mart: Mart) -> list[tuple[Any, ...]]:
    columns = ", ".join(column.name for column in mart.columns)
    rows = warehouse.execute(f"SELECT {columns} FROM {mart.table} ORDER BY {', '.join(mart.key)}")
    flags = [number for number, column in enumerate(mart.columns) if column.type == "flag"]
    return [tuple(bool(v) if n in flags else v for n, v in enumerate(row)) for row in rows]


@cache
def _loaded(given: bytes, variables: tuple[tuple[str, str], ...]) -> Settings:
    """Read settings once for all builds with the same settings and variables."""
    return load(None, pickle.loads(given))


def line(
    transaction: str = "T1",
    customer: int | str = 1,
    store: int = 121,
    product: str = "tea",
    day: str = "2024-01-10",
    person: int = 1,
    price: str = "10.00",
    quantity: int | str = 1,
    total: str | None = None,
) -> str:
    """Write one good row of SALES; whatever is given is changed."""
    cost = total if total is not None else str(_cents(Decimal(price) * Decimal(quantity)))
    return f"{transaction},{customer},{store},{product},{day},{person},{price},{quantity},{cost}"


def _cents(value: Decimal) -> Decimal:
    """Round half up to two digits; a value of fewer stays as it is written."""
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    return value if exponent >= -2 else value.quantize(Decimal("0.01"), ROUND_HALF_UP)


def sales(*rows: str, header: str = SALES) -> str:
    return "\n".join([header, *rows, ""])


def golden(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((GOLDEN / f"golden_{name}.csv").open()))


def as_golden(rows: list[tuple[Any, ...]], columns: list[str], wanted: list[str]) -> list[dict[str, str]]:
    """Write rows as the golden files do."""
    text = [
        {
            name: "" if v is None else str(int(v)) if isinstance(v, bool) else str(v)
            for name, v in zip(columns, row, strict=True)
        }
        for row in rows
    ]
    return [{name: row[name] for name in wanted} for row in text]


def seal(folder: Path, values: dict[str, str]) -> dict[str, str]:
    """Make a key and a sealed file; return the settings that name them, as variables."""
    where = Vault(str(folder / "credentials.json"), str(folder / "key.pem"))
    vault.write_key(where.key_file)
    vault.create(where, (vault.recipient_of(where.key_file, "tests"),), "2026-01-01T00:00:00+00:00")
    vault.change(where, "2026-01-01T00:00:01+00:00", lambda held: vault.with_values(held, values))
    return {"MARTS_SECRETS__FILE": where.file, "MARTS_SECRETS__KEY_FILE": where.key_file}


def marts(*arguments: str, code: int | None = 0) -> Result:
    """Run a command in this process, on the cluster of the tests."""
    result = CliRunner().invoke(app, list(arguments))
    if isinstance(result.exception, MartsError):
        result.exit_code = result.exception.exit_code
    elif result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert code is None or result.exit_code == code, f"{result.exception}\n{result.output}"
    return result


def numbered(count: int, prefix: str = "A") -> list[str]:
    """Return lines of 10.00 with ids of their own, of five customers."""
    return [line(f"{prefix}{n}", n % 5 + 1) for n in range(count)]


def total(place: Place) -> Decimal:
    """Return the sum of the customers mart; it is that of the sales team mart."""
    marts = place.marts(("customers", "sales_team"))
    sums = [sum(row[n] for row in marts[name]) for name, n in (("customers", 5), ("sales_team", 4))]
    assert sums[0] == sums[1]
    return Decimal(sums[0])


def mentions(report: RunReport, *words: str) -> bool:
    """Return whether a report has some words, wherever."""
    return all(word in report.model_dump_json() for word in words)


BIN = Path(sys.executable).parent
"""Where the commands of this installation are."""


def outside(*arguments: str, environment: dict[str, str] | None = None, cwd: Path | None = None) -> Any:
    """Run a command as a process of its own."""
    return subprocess.run(
        [*arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **(environment or {})},
    )
