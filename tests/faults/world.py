"""A world to break: drops in S3, marts in MariaDB, a Ray cluster of two nodes, readers, and what the marts must be."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import psutil
from support.kit import seal
from support.retail import LEAVE_OUT, MARTS
from support.servers import ACCESS_KEY, PASSWORD, SECRET_KEY, SQL_SERVER, seaweed, sql_server

from faults.deliveries import AS_OF, Deliveries, Rows
from faults.proxy import Proxy

BIN = Path(sys.executable).parent
POLICY = "max_bad_ratio = 0.5\nmax_fall = 1\n"
"""No fall of the total stops a round: the row-by-row calculation decides what is right."""
STEPS = ("plan", "start Ray", "scan", "roll up", "materialize", "load", "publish")
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

State = tuple[Any, ...]


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
            values: list[Any] = []
            for half in (_CUSTOMERS, _TEAM):
                cursor.execute(half)
                values += cursor.fetchall()[0]
                time.sleep(0.005)
            cursor.execute("COMMIT")
            return tuple(values)

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


class World(Deliveries):
    """Everything that a build touches, and all that it must come to."""

    def __init__(self, folder: Path, seed: int, server: str = SQL_SERVER) -> None:
        super().__init__(seed)
        self.folder = folder
        for name in ("s3", "db", "ray"):
            (folder / name).mkdir()
        (folder / "policy.toml").write_text(POLICY)
        self.s3, self.s3_daemon = seaweed(folder / "s3")
        self.database, self.db_daemon = sql_server(folder / "db", kind=server)
        self.states: list[State] = []

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
        self.put_dimensions()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # The store

    def upload(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket="drops", Key=f"in/{key}", Body=data)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket="drops", Key=f"in/{key}")

    def listed(self) -> dict[str, datetime]:
        pages: Any = self.client.get_paginator("list_objects_v2").paginate(Bucket="drops", Prefix="in/sales/")
        entries = [entry for page in pages for entry in page.get("Contents", [])]
        return {entry["Key"].removeprefix("in/"): entry["LastModified"] for entry in entries}

    def expect(self) -> None:
        """Calculate what the marts must be now; readers may see it from now on."""
        super().expect()
        state = _state(self.rows)
        if state not in self.states[-1:]:
            self.states.append(state)

    # What is built

    def build(self) -> "Build":
        """Start a build as its user would: a process of its own, through the proxies."""
        return Build(self._environment())

    def command(self, *words: str) -> str:
        """Run a command as its user would, and return its output. Raises CalledProcessError if it fails."""
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
            "LIMITS__ROLLUP_LINES": "300",
            "ANALYTICS": "false",  # in tasks this small, its tables take minutes on a cluster
            "LEAVE_OUT": LEAVE_OUT,
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

    def generations(self) -> tuple[int, int]:
        """Return the number of published generations of marts, and of those that exchanged rows of others."""
        connection = self.database.connect("marts")
        with connection.cursor() as cursor:
            cursor.execute("SELECT COUNT(*), COALESCE(SUM(earlier > 0), 0) FROM marts_generations")
            ((every, patches),) = cursor.fetchall()
        connection.close()
        return int(every), int(patches)

    def miscounted(self) -> list[str]:
        """Return the names of the drops of the ledger whose rows do not add up."""
        connection = self.database.connect("marts")
        with connection.cursor() as cursor:
            wrong = "rows_read <> clean + quarantined + duplicates AND state = 'live'"
            cursor.execute(f"SELECT object_key FROM marts_drops WHERE {wrong}")
            keys = [key for (key,) in cursor.fetchall()]
        connection.close()
        return keys


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
    """One run of `marts build`; watchers are notified when a step begins."""

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
            fields = json.loads(text) if text.startswith("{") else {}
            step = fields["step"] if fields.get("event") == "step" else ""
            for watcher in list(self.watchers):
                watcher(step)

    @property
    def run_id(self) -> str:
        """Return the id under which it is in the ledger. Raises StopIteration if it has not begun."""
        messages = (json.loads(text) for text in self.text if text.startswith("{"))
        return next(str(message["run_id"]) for message in messages if message.get("run_id"))

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
        """Return the worker processes: those that run tasks, and those that wait for some."""
        processes = []
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                name = " ".join(process.cmdline()[:1])
                if name.startswith("ray::") and "Agent" not in name:
                    processes.append(process)
        return processes

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
