"""S3 that throttles, refuses, breaks off or stands still; drops that arrive by halves; a disk that is full."""

import contextlib
import gzip
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.kit import Place, line, sales
from support.servers import S3Server, missing

from faults import proxy
from faults.effort import LONG, some
from faults.proxy import Fault, Proxy
from jobs.adapters.store.open import open_store
from jobs.state.parquet import read_parquet
from marts.errors import ServiceError, StateDamaged, Transient

QUICK: dict[str, Any] = {"connect_timeout": 2, "read_timeout": 2, "deadline": 20}


BUSY = ["500 Internal Server Error", "503 Slow Down", "429 Too Many Requests"]


@pytest.fixture
def through(s3_server: S3Server) -> Iterator[Proxy]:
    fault_proxy = Proxy(int(s3_server.endpoint.rpartition(":")[2]))
    yield fault_proxy
    fault_proxy.close()


@pytest.fixture
def fed(place: Place, s3_server: S3Server, through: Proxy, request: pytest.FixtureRequest) -> Place:
    """A place whose drops and state are behind the proxy, built once; then a drop came."""
    bucket = s3_server.make_bucket(f"f{abs(hash(request.node.name)) % 10**12}")
    place.put_golden()
    s3_server.upload(place.source, bucket, "in")
    s3 = {**s3_server.settings, "endpoint": f"http://127.0.0.1:{through.port}", **QUICK}
    place.settings = {"source": f"s3://{bucket}/in", "state": f"s3://{bucket}/state", "s3": s3}
    assert place.build().outcome == "published"
    text = sales(*(line(f"N{n}", day="2024-02-03") for n in range(40))).encode()
    s3_server.client().put_object(Bucket=bucket, Key="in/sales/new.csv", Body=text)
    return place


def published(place: Place) -> bool:
    report = place.build()
    assert report.error is None
    return (report.outcome, report.totals.clean) == ("published", 24 + 40)


@pytest.mark.parametrize("status", some(BUSY))
@pytest.mark.parametrize("after", some([0, 3, 12]))
def test_what_s3_cannot_do_now_is_asked_again(fed: Place, through: Proxy, status: str, after: int) -> None:
    answer = proxy.SLOW_DOWN.replace(b"503 Service Unavailable", status.encode())
    through.fault = proxy.answered("busy", answer, after, 3)
    assert published(fed)
    assert through.fault.struck == 3


def test_what_s3_forbids_is_asked_once(fed: Place, through: Proxy) -> None:
    seen: list[bytes] = []

    def request(fault: Fault, data: bytes) -> None:
        if proxy.is_http(data):
            seen.append(data)
            raise proxy.Answer(proxy.FORBIDDEN)

    before = fed.marts()
    through.fault = Fault("403", request=request)
    report = fed.build()
    assert report.error
    assert (report.exit_code, "denies access (AccessDenied)" in report.error.what) == (69, True)
    asked = [data.split(b"\r\n")[0] for data in seen]
    assert len(asked) == len(set(asked))
    through.fault = None
    assert fed.marts() == before
    assert published(fed)


@pytest.mark.parametrize("status", some(BUSY))
def test_a_state_that_cannot_be_opened_now_is_not_taken_for_gone(fed: Place, through: Proxy, status: str) -> None:
    store = open_store(fed.configured().state_uri, fed.configured().s3)
    key = next(version.key for version in store.versions("lines") if version.key.endswith(".parquet"))
    through.fault = proxy.answered("busy", proxy.SLOW_DOWN.replace(b"503 Service Unavailable", status.encode()), 0, 3)
    assert read_parquet(store, key).num_rows
    assert through.fault.struck == 3
    through.fault = None
    with pytest.raises(StateDamaged, match="is missing"):
        read_parquet(store, f"{key}.other")


def test_a_state_that_we_may_not_read_is_not_taken_for_gone(fed: Place, through: Proxy) -> None:
    store = open_store(fed.configured().state_uri, fed.configured().s3)
    key = next(version.key for version in store.versions("lines") if version.key.endswith(".parquet"))
    through.fault = proxy.answered("403", proxy.FORBIDDEN, 0, 100)
    with pytest.raises(ServiceError, match="denies access") as caught:
        read_parquet(store, key)
    assert not isinstance(caught.value, StateDamaged | Transient)


@pytest.mark.parametrize("at", some([0, 1, 200, 700, 2000, 5000, 9000, 14_000, 25_000, 40_000]))
def test_an_answer_may_break_off_anywhere(fed: Place, through: Proxy, at: int) -> None:
    through.fault = proxy.body_cut(at)
    assert published(fed)


def test_an_s3_that_stands_still_is_a_clean_failure_within_the_deadline(fed: Place, through: Proxy) -> None:
    before = fed.marts()
    fed.settings["s3"]["deadline"] = 4
    through.fault = proxy.stall(60, 0)
    through.fault.times = 10**6
    started = time.monotonic()
    report = fed.build()
    seconds = time.monotonic() - started
    through.fault = None
    through.cut_all()
    assert report.error
    assert report.exit_code == 69
    assert "does not answer" in report.error.what
    assert seconds < 25
    assert fed.marts() == before
    assert published(fed)


@pytest.mark.parametrize("compressed", some([False, True]))
def test_a_drop_that_arrives_by_halves_counts_as_the_whole_in_the_end(place: Place, compressed: bool) -> None:
    """Cut at every byte: whatever a build makes of the half, the whole replaces it."""
    place.put_golden()
    text = sales(*(line(f"N{n}", day="2024-02-03", quantity=n + 1) for n in range(3))).encode()
    whole, key = (gzip.compress(text, mtime=0), "sales/n.csv.gz") if compressed else (text, "sales/n.csv")
    place.put(key, whole)
    assert place.build().error is None
    wanted = place.marts()
    for cut in range(0, len(whole), 1 if LONG else 17):
        place.put(key, whole[:cut])
        place.build()
        state, reason = place.drops()[key]
        if compressed:
            assert state == "rejected", (cut, reason)
        place.put(key, whole)
        report = place.build()
        assert report.error is None
        assert place.marts() == wanted


def test_a_file_that_is_still_being_copied_is_waited_for(place: Place) -> None:
    place.put_golden()
    rows = [line(f"N{n}", day="2024-02-03") for n in range(40)]
    path = place.put("sales/slow.csv", sales())

    def copy() -> None:
        for row in rows:
            with path.open("a") as file:
                file.write(f"{row}\n")
            time.sleep(0.05)

    thread = threading.Thread(target=copy)
    thread.start()
    time.sleep(0.3)
    report = place.build(clock=lambda: datetime.now(UTC))
    thread.join()
    assert (report.error, report.totals.clean) == (None, 24 + 40)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 12 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        missing("the right to mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Fill a disk, but for some bytes."""
    free = shutil.disk_usage(disk).free
    filler = disk / "filler"
    with filler.open("wb") as file, contextlib.suppress(OSError):
        file.write(b"x" * max(0, free - leave))
        file.flush()
        os.fsync(file.fileno())
    return filler


@pytest.mark.parametrize("leave", some([0, 4 << 10, 12 << 10, 40 << 10, 100 << 10, 300 << 10, 800 << 10, 1500 << 10]))
@pytest.mark.parametrize("full", ["state", "target"])
def test_a_full_disk_leaves_the_live_marts_and_the_next_build_goes_on(
    place: Place, small_disk: Path, full: str, leave: int
) -> None:
    place.put_golden()
    if full == "state":
        place.settings = {"state": str(small_disk / "state")}
    else:
        place.target = f"duckdb://{small_disk / 'marts.duckdb'}"
    assert place.build().error is None
    before = place.marts()
    place.put("sales/x.csv", sales(*(line(f"X{n}", customer=1 + n % 4, day="2024-02-03") for n in range(4000))))
    filler = fill(small_disk, leave)
    report = place.build()
    if report.error:
        assert report.exit_code == 69, report.error
        filler.unlink()
        assert place.marts() == before
        again = place.build()
        assert again.outcome == "published", again.error
    else:
        filler.unlink(missing_ok=True)
    after = place.marts()
    assert after != before
    other = Place(place.folder, target=f"duckdb://{place.folder / 'other.duckdb'}")
    other.settings = {"state": str(place.folder / "other")}
    other.build()
    assert other.marts() == after
