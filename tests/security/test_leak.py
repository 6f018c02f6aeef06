"""A canary in each credential, builds through `ray job submit` that succeed and that fail, and a search everywhere."""

import base64
import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
import requests
from support.kit import CUSTOMERS, GOLDEN, SALES_TEAM, STORES, seal
from support.post import Hook
from support.servers import MariaDB, RayHead, S3Server, seaweed

ROOT = Path(__file__).parent.parent.parent
_PAGES = (
    "api/jobs/",
    "api/v0/tasks?detail=true&limit=10000",
    "api/v0/actors?detail=true&limit=10000",
    "api/v0/workers?detail=true&limit=10000",
    "api/v0/nodes?detail=true",
    "api/v0/objects?detail=true&limit=10000",
    "api/v0/runtime_envs?detail=true&limit=10000",
    "api/v0/cluster_events?detail=true",
    "api/v0/tasks/summarize",
    "api/v0/actors/summarize",
    "api/cluster_status",
    "api/snapshot",
    "nodes?view=summary",
    "nodes?view=details",
    "logical/actors",
    "api/data/datasets/01000000",
)
"""What Ray's dashboard answers to who has the token."""


@dataclass
class Search:
    """Looks for canaries, however they are spelled, and counts where it looked."""

    canaries: dict[str, str]
    hits: list[str] = field(default_factory=list)
    looked: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._spelled = [
            (name, form)
            for name, value in self.canaries.items()
            for form in {
                value.encode(),
                quote(value, safe="").encode(),
                value.encode().hex().encode(),
                value.encode("utf-16-le"),
                base64.b64encode(value.encode()).rstrip(b"="),
                *(value[at : at + 16].encode() for at in range(len(value) - 15)),
            }
        ]

    def look(self, kind: str, where: str, data: bytes) -> None:
        self.looked[kind] = self.looked.get(kind, 0) + 1
        matches = {name for name, form in self._spelled if form in data}
        self.hits += [f"{name} in {kind} {where}" for name in sorted(matches)]


@dataclass(frozen=True)
class Planted:
    """Servers whose keys are canaries, and a cluster that knows only where the sealed file is."""

    s3: S3Server
    database: MariaDB
    head: RayHead
    canaries: dict[str, str]
    folder: Path
    name: str
    """Of the database, and its user."""
    hook: Hook


@pytest.fixture
def planted(
    tmp_path: Path, mariadb: MariaDB, start_ray_head: Callable[[dict[str, str]], RayHead], hook: Hook
) -> Iterator[Planted]:
    canaries = {name: f"Canary{secrets.token_hex(12)}" for name in ("s3.access_key", "s3.secret_key", "mail.password")}
    canaries["mysql.password"] = f"Canary/{secrets.token_hex(12)}+:@ü"
    tokens = {name: f"Canary{secrets.token_hex(12)}" for name in ("notice password", "dead password", "ping token")}
    addresses = {
        "notify.to.hook": f"json://bot:{tokens['notice password']}@127.0.0.1:{hook.port}/x",
        "notify.to.dead": f"json://bot:{tokens['dead password']}@127.0.0.1:1/x",
        "notify.heartbeat": f"http://127.0.0.1:{hook.port}/ping/{tokens['ping token']}",
    }
    sealed = seal(tmp_path, canaries | addresses)
    key = Path(sealed["MARTS_SECRETS__KEY_FILE"]).read_text().splitlines()[1]
    (tmp_path / "weed").mkdir()
    s3, daemon = seaweed(tmp_path / "weed", canaries["s3.access_key"], canaries["s3.secret_key"])
    (tmp_path / "policy.toml").write_text("max_unknown_ratio = 0.2")
    outside = {**sealed, "MARTS_S3__ENDPOINT": s3.endpoint, "MARTS_POLICY": str(tmp_path / "policy.toml")}
    daemon.start()
    try:
        name = f"leak_{secrets.token_hex(4)}"
        mariadb.make_database(name, canaries["mysql.password"])
        head = start_ray_head({**outside, "MARTS_AS_OF": "2024-03-31", "MARTS_NOTIFY__DEADLINE": "0.2"})
        yield Planted(s3, mariadb, head, {**canaries, **tokens, "private key": key}, tmp_path, name, hook)
    finally:
        daemon.kill()


def deliver(s3: S3Server) -> None:
    s3.make_bucket("drops")
    for key, text in (("customers/c.csv", CUSTOMERS), ("sales_team/t.csv", SALES_TEAM), ("stores/s.csv", STORES)):
        s3.client().put_object(Bucket="drops", Key=key, Body=text.encode())
    s3.client().put_object(Bucket="drops", Key="sales/g.csv", Body=(GOLDEN / "golden_input.csv").read_bytes())


def submit(head: RayHead, *arguments: str, more: tuple[str, ...] = ()) -> subprocess.CompletedProcess[bytes]:
    """Run `ray job submit` as its user would, in a shell that has no credential."""
    ray = Path(sys.executable).parent / "ray"
    command = [str(ray), "job", "submit", "--working-dir", str(ROOT), *more, "--", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MARTS_")}
    return subprocess.run(
        command, env={**environment, **head.environment}, capture_output=True, timeout=300, check=False
    )


def test_a_canary_in_each_credential_is_found_nowhere(planted: Planted, figure: Callable[[str], None]) -> None:
    deliver(planted.s3)
    search = Search({**planted.canaries, "control": f"control{secrets.token_hex(16)}"})
    target = f"mysql://{planted.name}@127.0.0.1:{planted.database.port}/{planted.name}"
    build = ["python", "-m", "jobs.build", "--target", target]
    with _watching(search):
        good = submit(planted.head, *build, "--source", "s3://drops")
        no_bucket = submit(planted.head, *build, "--source", "s3://no-such-bucket", "--state", "s3://drops/_marts")
        with planted.database.connect() as root, root.cursor() as cursor:
            cursor.execute(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM '{planted.name}'@'%'")
        refused = submit(planted.head, *build, "--source", "s3://drops")
        (planted.folder / "policy.toml").write_text("wrong = 1")
        no_policy = submit(planted.head, *build, "--source", "s3://drops")
    assert b"both marts are live" in good.stdout + good.stderr
    assert [run.returncode for run in (good, no_bucket, refused, no_policy)] == [0, 1, 1, 1]
    for run, message in ((no_bucket, b"does not exist"), (refused, b"denies access"), (no_policy, b"policy.toml")):
        assert message in run.stdout + run.stderr
    for run in (good, no_bucket, refused, no_policy):
        search.look("output of ray job submit", "", run.stdout + run.stderr)
    for post in planted.hook.posts:
        search.look("notices", post["title"], json.dumps(post).encode())
    assert planted.hook.pings[0].endswith(f"{planted.canaries['ping token']}/start")
    _search_ray(search, planted.head)
    _search_files(search, Path(planted.head.folder))
    _search_state(search, planted.s3)
    _search_database(search, planted.database, planted.name)
    places = ", ".join(f"{count:,} {kind}" for kind, count in sorted(search.looked.items()))
    figure(f"{len(planted.canaries)} canaries searched in {sum(search.looked.values()):,} places: 0 found ({places})")
    assert search.hits == []
    assert search.looked["files of Ray's sessions"] > 20
    assert search.looked["objects of the state"] > 10
    assert search.looked["rows of the database"] > 20
    assert search.looked["pages of Ray's REST API"] >= 14
    assert search.looked["command lines"] > 20
    assert search.looked["notices"] >= 2
    _finds_what_is_leaked(planted)


def _finds_what_is_leaked(planted: Planted) -> None:
    """A control: a credential that is handed over as people usually do is found."""
    canary = f"Canary{secrets.token_hex(12)}"
    search = Search({"leaked": canary})
    runtime = f'{{"env_vars": {{"PASSWORD": "{canary}"}}}}'
    script = f"import time;time.sleep(3);print({canary!r})"
    with _watching(search):
        submit(planted.head, "python", "-c", script, more=("--runtime-env-json", runtime))
    _search_ray(search, planted.head)
    _search_files(search, Path(planted.head.folder))
    for kind in ("pages of Ray's REST API", "files of Ray's sessions", "command lines"):
        assert any(kind in hit for hit in search.hits), kind


class _watching:  # noqa: N801 - reads as a statement
    """Read the command lines of all processes, and what they inherit, while something runs."""

    def __init__(self, search: Search) -> None:
        self._search, self._ended = search, threading.Event()
        self._seen: set[tuple[int, float]] = set()

    def __enter__(self) -> None:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):  # it has ended
                    identity = (process.pid, process.create_time())
                    if identity not in self._seen and process.pid != os.getpid():
                        self._seen.add(identity)
                        line = "\0".join(process.cmdline()).encode("utf-8", "surrogateescape")
                        self._search.look("command lines", line[:60].decode(errors="replace"), line)


def _search_ray(search: Search, head: RayHead) -> None:
    def get(page: str) -> Any:
        return requests.get(f"{head.dashboard}/{page}", headers={"Authorization": f"Bearer {head.token}"}, timeout=30)

    answered = 0
    jobs = get("api/jobs/").json()
    logs = [f"api/jobs/{job['submission_id']}/logs" for job in jobs if job.get("submission_id")]
    for page in (*_PAGES, *logs):
        answer = get(page)
        answered += answer.status_code == 200
        search.look("pages of Ray's REST API", page, answer.content)
    assert answered > 10 + len(logs)


def _search_files(search: Search, folder: Path) -> None:
    time.sleep(1)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            search.look("files of Ray's sessions", str(path), path.read_bytes())


def _search_state(search: Search, s3: S3Server) -> None:
    client = s3.client()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="drops"):
        for entry in page.get("Contents", []):
            search.look(
                "objects of the state", entry["Key"], client.get_object(Bucket="drops", Key=entry["Key"])["Body"].read()
            )


def _search_database(search: Search, database: MariaDB, name: str) -> None:
    with database.connect(name) as root, root.cursor() as cursor:
        cursor.execute("SHOW FULL TABLES WHERE Table_type = 'BASE TABLE'")
        for table, _ in cursor.fetchall():
            cursor.execute(f"SELECT * FROM `{table}`")
            for row in cursor.fetchall():
                search.look("rows of the database", str(table), repr(row).encode())
