"""A world to break: drops in S3, marts in MariaDB, a Ray cluster of two nodes, readers, and what the marts must be."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import oracle
import psutil
from kit import SALES, line, seal
from oracle_drops import Source, content_of
from servers import ACCESS_KEY, PASSWORD, SECRET_KEY, SQL_SERVER, seaweed, sql_server

from faults.proxy import Proxy
from marts.schema import MARTS

AS_OF = date(2024, 6, 30)
BIN = Path(sys.executable).parent
CUSTOMERS = {number: oracle.Person(f"First{number} Last{number}") for number in range(1, 61)}
TEAM = {number: oracle.Person(f"Sales{number} Person{number}") for number in range(1, 6)}
POLICY = "max_bad_ratio = 0.5\nmax_fall = 1\n"
"""No fall of the total stops a round: the row-by-row calculation says what is right."""
STEPS = ("plan", "start Ray", "scan", "roll up", "finish", "load", "publish")
_DEADLINE = 150
"""Seconds after which a build hangs."""
_CUSTOMERS = (
    "SELECT COUNT(*), COALESCE(SUM(total_sales), 0), COALESCE(SUM(customer_id * total_sales), 0), "
    "COALESCE(SUM(purchase_frequency), 0), MIN(run_id) = MAX(run_id) FROM customers_data_mart"
)
_TEAM = (
    "SELECT COUNT(*), COALESCE(SUM(total_sales), 0), COALESCE(SUM(sales_person_id * total_sales), 0), "
    "COALESCE(SUM(incentive), 0), MIN(run_id) = MAX(run_id) FROM sales_team_data_mart"
)

Basket = tuple[str, int | str, int, str, int]
"""A transaction: its id, customer, store, day, and sales person."""
Rows = dict[str, list[tuple[Any, ...]]]
State = tuple[Any, ...]


@dataclass(frozen=True)
class Drop:
    """What is under one key: the bytes as delivered, and its clean rows alone."""

    data: bytes
    clean: str


@dataclass
class Reader:
    """Polls the marts all the time, straight from the server, and remembers what it must not see."""

    world: "World"
    snapshot: bool
    """Two statements in one repeatable-read snapshot; else one statement over both marts, under read committed."""
    checks: int = 0
    torn: list[str] = field(default_factory=list)
    older: list[str] = field(default_factory=list)
    last: int = -1
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.ended.set()
        self.thread.join(30)

    def _run(self) -> None:
        import mysql.connector

        connection: Any = None
        while not self.ended.is_set():
            try:
                if connection is None:
                    connection = self.world.database.connect("marts")
                    level = "REPEATABLE READ" if self.snapshot else "READ COMMITTED"
                    with connection.cursor() as cursor:
                        cursor.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
                self._check(self._read(connection))
            except (mysql.connector.Error, OSError, IndexError):  # the server is down: that is no answer
                with contextlib.suppress(Exception):
                    connection.close()
                connection = None
                time.sleep(0.1)
            time.sleep(0.01)

    def _read(self, connection: Any) -> State:
        with connection.cursor() as cursor:
            if not self.snapshot:
                cursor.execute(f"SELECT c.*, s.* FROM ({_CUSTOMERS}) c, ({_TEAM}) s")
                return tuple(cursor.fetchall()[0])
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            found: list[Any] = []
            for half in (_CUSTOMERS, _TEAM):
                cursor.execute(half)
                found += cursor.fetchall()[0]
                time.sleep(0.005)
            cursor.execute("COMMIT")
            return tuple(found)

    def _check(self, seen: State) -> None:
        self.checks += 1
        states = self.world.states
        numbers = [number for number, state in enumerate(states) if state == seen]
        if not numbers:
            self.torn.append(f"{seen} is none of the last {states[-3:]}")
        elif numbers[-1] < self.last:
            self.older.append(f"state {numbers[-1]} after {self.last}")
        else:
            self.last = min(number for number in numbers if number >= self.last)


class World:
    """Everything that a build touches, and all that it must come to."""

    def __init__(self, folder: Path, seed: int, server: str = SQL_SERVER) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        for name in ("s3", "db", "ray"):
            (folder / name).mkdir()
        (folder / "policy.toml").write_text(POLICY)
        self.s3, self.s3_daemon = seaweed(folder / "s3")
        self.database, self.db_daemon = sql_server(folder / "db", kind=server)
        self.drops: dict[str, Drop] = {}
        self.gone: dict[str, Drop] = {}
        """What was under keys that are gone, and may come back; nobody has decided about it."""
        self.source = Source()
        """What counts, drop by drop."""
        self.baskets: list[Basket] = []
        """Lines that were sold, for files that cut their baskets, and refunds that name them."""
        self.ends = {0}
        """How a build may end that meets no fault: 65 where it is the first to ask about drops that are gone."""
        self.states: list[State] = []
        self.rows: Rows = {}
        self.made = 0

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        for daemon in (self.s3_daemon, self.db_daemon):
            daemon.start()
            self._stack.callback(daemon.kill)
        self.client = self.s3.client()
        self.s3.make_bucket("drops")
        self.database.make_database("marts")
        keys = {"s3.access_key": ACCESS_KEY, "s3.secret_key": SECRET_KEY, "mysql.password": PASSWORD}
        self.sealed = seal(self.folder, keys)
        self.s3_proxy = Proxy(int(self.s3.endpoint.rpartition(":")[2]))
        self.db_proxy = Proxy(self.database.port, tls=self.database.kind == "mysql")
        self._stack.callback(self.s3_proxy.close)
        self._stack.callback(self.db_proxy.close)
        self.ray = RayNodes(self.folder / "ray")
        self._stack.callback(self.ray.stop)
        self._put_dimensions()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # What is delivered

    def put(self, key: str, drop: Drop) -> None:
        """Deliver a drop; a second later than the one before, as far as S3 can tell."""
        self.client.put_object(Bucket="drops", Key=f"in/{key}", Body=drop.data)
        self.drops[key] = drop
        self.gone.pop(key, None)

    def remove(self, key: str) -> None:
        self.client.delete_object(Bucket="drops", Key=f"in/{key}")
        self.gone[key] = self.drops.pop(key)

    def new_drop(self, fewest: int = 60, most: int = 240) -> Drop:
        """Make a drop, some of its lines broken."""
        pick = self.random
        rows = [self._row() for _ in range(pick.randrange(fewest, most))]
        broken = [row.replace("2024-", "2024/", 1) for row in (self._row() for _ in range(pick.randrange(3)))]
        mixed = [*rows, *broken]
        pick.shuffle(mixed)
        in_order = [row for row in mixed if row not in broken]
        return Drop("\n".join([SALES, *mixed, ""]).encode(), "\n".join([SALES, *in_order, ""]))

    def _row(self) -> str:
        """Make a line: of a basket of its own, or of one that an earlier file has cut, or a refund that names one."""
        pick = self.random
        of_earlier = bool(self.baskets) and pick.random() < 0.15
        basket = pick.choice(self.baskets[-2000:]) if of_earlier else self._basket()
        self.baskets.append(basket)
        transaction, customer, store, day, person = basket
        return line(
            transaction=transaction,
            customer=customer,
            store=store,
            product=pick.choice(["tea", "salt", "rice"]),
            day=day,
            person=person,
            price=str(Decimal(pick.randrange(1, 99999)) / 100),
            quantity=pick.choice([1, 2, 3, -1]),
        )

    def _basket(self) -> Basket:
        """Make a basket; some are of guests, and some have a word where an id should be."""
        pick = self.random
        guest, nameless = pick.random() < 0.05, pick.random() < 0.05
        transaction = pick.choice(["", "0", "n/a", "Unknown"]) if nameless else f"T{pick.randrange(3000)}"
        customer = pick.choice(["", 0, -1]) if guest else pick.randrange(1, 61)
        day = (date(2024, 1, 1) + timedelta(days=pick.randrange(180))).isoformat()
        return transaction, customer, pick.randrange(121, 124), day, pick.randrange(1, 6)

    def _put_dimensions(self) -> None:
        people = "customer_id,first_name,last_name,address,pincode,phone_number,customer_joining_date\n"
        people += "".join(f"{n},First{n},Last{n},,,,\n" for n in CUSTOMERS)
        team = "id,first_name,last_name,manager_id,is_manager,address,pincode,joining_date\n"
        team += "".join(f"{n},Sales{n},Person{n},,N,,,\n" for n in TEAM)
        stores = "id,address,store_pincode,store_manager_name,store_opening_date,reviews\n"
        stores += "".join(f"{n},,,,,\n" for n in range(121, 124))
        for key, text in (("customers/c.csv", people), ("sales_team/t.csv", team), ("stores/s.csv", stores)):
            self.client.put_object(Bucket="drops", Key=f"in/{key}", Body=text.encode())

    def begin(self) -> None:
        """Deliver what there is on the first day: some drops of many lines, and some of a few."""
        for number in range(9):
            self.put(f"sales/2023/{number:04d}.csv", self.new_drop(3, 9) if number % 2 else self.new_drop())
        self.expect()

    def change(self, what: str = "", key: str = "") -> str:
        """Let the day bring something, to one of the drops; return what it was."""
        pick = self.random
        what = what or pick.choice(self._choices())
        self.made += 1
        new = f"sales/2024/{self.made:04d}.csv"
        key = key or (pick.choice(sorted(self.drops)) if self.drops else new)
        happens: dict[str, Callable[[], None]] = {
            "new": lambda: self.put(new, self.new_drop()),
            "small": lambda: self.put(new, self.new_drop(3, 9)),
            "replaced": lambda: self.put(key, self.new_drop()),
            "put again": lambda: self.put(key, self.drops[key]),
            "copied": lambda: self.put(new, self.drops[key]),
            "saved again": lambda: self.put(new, _saved_again(self.drops[key])),
            "moved": lambda: self._move(key, new),
            "withdrawn": lambda: self.remove(key),
            "expired": lambda: self.remove(self._small()[0]),
            "emptied": self._empty,
            "put back": self._put_back,
            "withdrawal accepted": lambda: self._decide("accept"),
            "withdrawal refused": lambda: self._decide("refuse"),
        }
        self.ends = {0}
        happens[what]()
        self.expect()
        return what

    def _choices(self) -> list[str]:
        """Return what may happen now; twice what happens often."""
        if not self.drops:
            return ["put back"] if self.gone else ["new"]
        choices = ["new", "new", "small", "small", "replaced", "put again", "copied", "moved", "saved again"]
        if len(self.drops) > 6:
            choices += ["withdrawn", "emptied", *(["expired"] * 2 if self._small() else [])]
        if self.asked:
            choices += ["put back", "withdrawal refused", *["withdrawal accepted"] * 3]
        return choices

    def _small(self) -> list[str]:
        """Return the keys of drops of a few lines, the oldest first: a lifecycle rule takes those."""
        return [key for key in sorted(self.drops) if self.drops[key].clean.count("\n") < 10]

    def _empty(self) -> None:
        for key in list(self.drops):
            self.remove(key)

    def _put_back(self) -> None:
        for key, drop in list(self.gone.items()):
            self.put(key, drop)

    def _move(self, key: str, new: str) -> None:
        self.put(new, self.drops[key])
        self.remove(key)
        del self.gone[key]

    @property
    def asked(self) -> list[str]:
        """Return the keys of drops that are gone, count on, and wait for somebody to decide."""
        kept_back = {drop.content for drop in self.source.kept_back}
        return sorted(key for key, drop in self.gone.items() if content_of(drop.clean.encode()) in kept_back)

    @property
    def only_copies(self) -> bool:
        """Return whether drops count whose objects are gone: a state that is lost then cannot be made again."""
        return bool(self.source.kept_back)

    def _decide(self, how: str) -> None:
        """Decide about all drops that wait for it."""
        keys = self.asked
        self.command("withdraw", how, "--why", "a campaign")
        decided = self.source.accepted if how == "accept" else self.source.refused
        decided |= {content_of(self.gone.pop(key).clean.encode()) for key in keys}

    def expect(self) -> None:
        """Calculate, row by row, what the marts must be now; readers may see it from now on."""
        listed = self.client.get_paginator("list_objects_v2").paginate(Bucket="drops", Prefix="in/sales/")
        times = {entry["Key"].removeprefix("in/"): entry["LastModified"] for page in listed for entry in _of(page)}
        before = {drop.content for drop in self.source.kept_back}
        self.source.run({key: (times[key], drop.clean.encode()) for key, drop in self.drops.items()})
        asked = {drop.content for drop in self.source.kept_back} - before - self.source.refused
        self.ends |= {65} if asked else set()
        lines = self.source.lines()
        self.rows = {
            "customers": oracle.customers_mart(lines, CUSTOMERS, AS_OF),
            "sales_team": oracle.sales_team_mart(lines, TEAM, AS_OF),
        }
        state = _state(self.rows)
        if state not in self.states[-1:]:
            self.states.append(state)

    # What is built

    def build(self) -> "Build":
        """Start a build as its user would: a process of its own, through the proxies."""
        return Build(self._environment())

    def command(self, *words: str) -> str:
        """Run a command as its user would, and return what it says. Raises CalledProcessError if it fails."""
        environment = {**os.environ, **self._environment()}
        return subprocess.run(
            [str(BIN / "marts"), *words], env=environment, capture_output=True, text=True, check=True, timeout=_DEADLINE
        ).stdout

    def _environment(self) -> dict[str, str]:
        settings = {
            "SOURCE": "s3://drops/in",
            "STATE": "s3://drops/state",
            "TARGET": f"mysql://marts@127.0.0.1:{self.db_proxy.port}/marts",
            "AS_OF": AS_OF.isoformat(),
            "POLICY": str(self.folder / "policy.toml"),
            "QUALITY__JUDGE": "false",
            "RAY__ADDRESS": self.ray.address,
            "S3__ENDPOINT": f"http://127.0.0.1:{self.s3_proxy.port}",
            "S3__CONNECT_TIMEOUT": "2",
            "S3__READ_TIMEOUT": "2",
            "S3__DEADLINE": "10",
            "MYSQL__CONNECT_TIMEOUT": "2",
            "MYSQL__READ_TIMEOUT": "4",
            "MYSQL__DEADLINE": "10",
            "MYSQL__LEASE": "3",
            "LOCK_TIMEOUT": "20",
            "LIMITS__SPLIT_BYTES": "8192",
            "LIMITS__FINISH_ROWS": "120",
        }
        return {f"MARTS_{name}": value for name, value in settings.items()} | self.sealed

    def compare(self) -> tuple[int, int]:
        """Count the rows that the marts lack, and those that they have too often or wrongly."""
        connection = self.database.connect("marts")
        lost = doubled = 0
        with connection.cursor() as cursor:
            for name, wanted in self.rows.items():
                mart = MARTS[name]
                cursor.execute(f"SELECT {', '.join(c.name for c in mart.columns)} FROM {mart.table}")
                flags = {n for n, c in enumerate(mart.columns) if c.type == "flag"}
                rows = [tuple(bool(v) if n in flags else v for n, v in enumerate(row)) for row in cursor.fetchall()]
                lost += sum((Counter(wanted) - Counter(rows)).values())
                doubled += sum((Counter(rows) - Counter(wanted)).values())
        connection.close()
        return lost, doubled

    def miscounted(self) -> list[str]:
        """Name the drops of the ledger whose rows do not add up."""
        connection = self.database.connect("marts")
        with connection.cursor() as cursor:
            wrong = "rows_read <> clean + quarantined + duplicates AND state = 'live'"
            cursor.execute(f"SELECT object_key FROM marts_drops WHERE {wrong}")
            found = [key for (key,) in cursor.fetchall()]
        connection.close()
        return found


def _of(page: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.get("Contents", [])
    return found


def _saved_again(drop: Drop) -> Drop:
    """Return the same rows under other bytes, as a spreadsheet saves them."""
    return Drop(b"\xef\xbb\xbf" + drop.data.replace(b"\n", b"\r\n"), drop.clean.replace("\n", "\r\n"))


def _state(rows: Rows) -> State:
    customers, team = rows["customers"], rows["sales_team"]
    return (
        len(customers),
        sum((row[5] for row in customers), Decimal(0)),
        sum((row[0] * row[5] for row in customers), Decimal(0)),
        sum(row[9] for row in customers),
        1,
        len(team),
        sum((row[4] for row in team), Decimal(0)),
        sum((row[1] * row[4] for row in team), Decimal(0)),
        sum((row[7] for row in team), Decimal(0)),
        1,
    )


class Build:
    """One run of `marts build`; whoever watches is told when a step begins."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [str(BIN / "marts"), "build"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment, "MARTS_LOG__FORMAT": "json"},
        )
        self.text: list[str] = []
        self.watchers: list[Callable[[str], None]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        for text in self.process.stderr:
            self.text.append(text)
            told = json.loads(text) if text.startswith("{") else {}
            step = told["step"] if told.get("event") == "step" else ""
            for watcher in list(self.watchers):
                watcher(step)

    @property
    def run_id(self) -> str:
        """Return the id under which it is in the ledger. Raises StopIteration if it has not begun."""
        told = (json.loads(text) for text in self.text if text.startswith("{"))
        return next(str(one["run_id"]) for one in told if one.get("run_id"))

    def wait(self, seconds: float = _DEADLINE) -> int:
        """Wait for the exit code. Raises TimeoutExpired for a build that hangs."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        self._reader.join(10)
        return code


class RayNodes:
    """A Ray cluster of two nodes with a processor each, by Ray's own utility for tests."""

    def __init__(self, folder: Path) -> None:
        os.environ.update(
            {
                "RAY_num_workers_soft_limit": "8",
                "RAY_idle_worker_killing_time_threshold_ms": "600000",
                "RAY_USAGE_STATS_ENABLED": "0",
            }
        )
        from ray.cluster_utils import Cluster

        self._folder = folder
        self._begin(Cluster)

    def _begin(self, cluster: Any) -> None:
        for attempt in range(3):
            try:
                head = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
                self._cluster = cluster(initialize_head=True, head_node_args=head)
                break
            except Exception:  # a busy machine: the node timed out during startup
                if attempt == 2:
                    raise
        self.address: str = self._cluster.address
        self._add()

    def _add(self) -> None:
        self._node = self._cluster.add_node(num_cpus=1, object_store_memory=100 << 20)

    def kill_node(self) -> None:
        """Kill the second raylet, with its workers, and bring another."""
        self._cluster.remove_node(self._node, allow_graceful=False)
        self._add()

    def workers(self) -> list[psutil.Process]:
        """Give the worker processes: those that run tasks, and those that wait for some."""
        found = []
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                name = " ".join(process.cmdline()[:1])
                if name.startswith("ray::") and "Agent" not in name:
                    found.append(process)
        return found

    def stop(self) -> None:
        self._cluster.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def frozen(pid: int, seconds: float) -> Iterator[None]:
    """Stop a process for some seconds, while something else goes on."""
    process = psutil.Process(pid)
    process.suspend()
    try:
        yield
        time.sleep(seconds)
    finally:
        with contextlib.suppress(psutil.Error):
            process.resume()


def now() -> str:
    return datetime.now(UTC).strftime("%H:%M:%S")
