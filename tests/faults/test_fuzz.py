"""Thousands of broken CSVs: no crash, no hang, bounded memory, and every row is clean or in quarantine."""

import gzip
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.kit import SALES, Place, line

from faults.effort import LONG
from jobs.adapters.store.folder import Folder
from jobs.state.manifest import Delivery, Manifest
from jobs.steps.scan import merge, splits_of
from jobs.steps.scan_settings import ScanSettings
from jobs.steps.scan_task import scan_pack
from jobs.steps.split import Split
from marts.policy import Policy

HEADS = {
    "sales": SALES,
    "customers": "customer_id,first_name,last_name,address,pincode,phone_number,customer_joining_date",
}
MEMORY = 700 << 20
"""Bytes that a process may take at most that scans all this."""
SECONDS = 10
QUIET = list(HealthCheck)


class Lab:
    """A folder where one drop after the other is scanned."""

    def __init__(self, folder: Path) -> None:
        self.place = Place(folder)
        self.source = Folder(str(self.place.source))
        base = ScanSettings.of(self.place.configured(), Policy())
        self.settings: dict[int, ScanSettings] = {size: _with(base, size) for size in (1 << 10, 3000, 1 << 25)}

    def scan(self, kind: str, data: bytes, split_bytes: int, suffix: str = "csv") -> Manifest:
        """Scan a drop as a build would, and check that what was written is what was counted."""
        path = self.place.put(f"{kind}/drop.{suffix}", data)
        (version,) = [v for v in self.source.versions(kind) if v.key == f"{kind}/{path.name}"]
        delivery, chosen = Delivery.of(kind, version), self.settings[split_bytes]
        started = time.monotonic()
        results = [scan_pack((chosen, (split,)))[0] for split in splits_of(delivery, split_bytes)]
        if any(result.unsplittable for result in results):
            results = scan_pack((chosen, (Split(delivery, 0),)))
        manifest = merge(chosen, results)
        assert time.monotonic() - started < SECONDS
        state = self.place.folder / "state"
        written = [file for month in manifest.months.values() for file in month.files] + list(manifest.files)
        clean = sum(pq.read_metadata(state / file.path).num_rows for file in written)
        bad = sum(pq.read_metadata(state / key).num_rows for key in manifest.quarantine)
        assert (clean, bad) == (manifest.clean, manifest.quarantined)
        assert manifest.rows_read == clean + bad
        assert not (manifest.rejected and manifest.rows_read)
        path.unlink()
        return manifest


def _with(base: ScanSettings, split_bytes: int) -> ScanSettings:
    return replace(base, split_bytes=split_bytes, max_inflated_bytes=1 << 22)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as patched:
        folder = tmp_path_factory.mktemp("fuzz")
        patched.chdir(folder)
        yield Lab(folder)


@settings(
    max_examples=3000 if LONG else 200, derandomize=not LONG, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(
    kind=st.sampled_from(sorted(HEADS)),
    body=st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
            st.sampled_from([line().encode(), line(product='"a, ""b""\nc"').encode(), b'"', b"\r", b"\0", b",,,,,,,,"]),
        ),
        max_size=30,
    ),
    end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    split_bytes=st.sampled_from([1 << 10, 1 << 25]),
)
def test_any_bytes_after_a_header(lab: Lab, kind: str, body: list[bytes], end: bytes, split_bytes: int) -> None:
    lab.scan(kind, end.join([HEADS[kind].encode(), *body]), split_bytes)


@settings(
    max_examples=2000 if LONG else 200, derandomize=not LONG, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(data=st.binary(max_size=400), suffix=st.sampled_from(["csv", "csv.gz"]))
def test_any_bytes_at_all(lab: Lab, data: bytes, suffix: str) -> None:
    manifest = lab.scan("sales", data, 1 << 25, suffix)
    assert manifest.rejected or manifest.rows_read >= 0


def mutated(pick: random.Random) -> bytes:
    """Break a good drop at some places: bytes changed, put in, taken away, moved, doubled, or the rest cut off."""
    names = ['"a, b"', "tea", '"x\ny"', "Zoë", "李", '"say ""hi"""', "🥭"]
    rows = [
        line(f"G{n}", product=pick.choice(names), day=f"2024-0{1 + n % 9}-10") for n in range(pick.randrange(1, 120))
    ]
    text = bytearray(pick.choice(["\n", "\r\n"]).join([SALES, *rows, ""]).encode())
    junk = [
        b'"',
        b"\n",
        b"\r",
        b"\0",
        b"\xff",
        b",",
        b"",
        b"9",
        b'""',
        b"\xe2\x80\xae",
        b"\xef\xbb\xbf",
        b"=",
        b"\t",
        b"-",
    ]
    for _ in range(pick.randrange(1, 30)):
        start = 0 if pick.random() < 0.05 else len(SALES) + 1
        at = pick.randrange(start, len(text)) if len(text) > start else 0
        what = pick.random()
        if what < 0.5:
            text[at : at + pick.randrange(3)] = pick.choice(junk)
        elif what < 0.7:
            text[at : at + 1] = bytes([pick.randrange(256)])
        elif what < 0.85:
            chunk = text[at : at + pick.randrange(200)]
            to = pick.randrange(start, len(text)) if len(text) > start else 0
            text[to:to] = chunk
        elif what < 0.97:
            del text[at : at + pick.randrange(80)]
        else:
            del text[at:]
    return bytes(text)


@pytest.mark.parametrize("seed", range(10 if LONG else 1))
def test_broken_drops_by_the_thousand_come_out_the_same_whatever_the_splits(lab: Lab, seed: int) -> None:
    pick = random.Random(seed)
    for _ in range(2000 if LONG else 120):
        data = mutated(pick)
        whole = lab.scan("sales", data, 1 << 25)
        split = lab.scan("sales", data, pick.choice([1 << 10, 3000]))
        seen = [(m.rows_read, m.quarantined, bool(m.rejected), sorted(m.months)) for m in (whole, split)]
        assert seen[0] == seen[1], data


def test_a_broken_gzip_is_rejected_or_whole(lab: Lab) -> None:
    pick = random.Random(1)
    text = "\n".join([SALES, *(line(f"G{n}") for n in range(300)), ""]).encode()
    whole = gzip.compress(text, mtime=0)
    for _ in range(2000 if LONG else 200):
        data = bytearray(whole)
        for _ in range(pick.randrange(1, 4)):
            data[pick.randrange(len(data))] = pick.randrange(256)
        if pick.random() < 0.2:
            del data[pick.randrange(len(data)) :]
        manifest = lab.scan("sales", bytes(data), 1 << 25, "csv.gz")
        assert manifest.rejected or (manifest.rows_read, manifest.quarantined) == (300, 0)


CODE = """
import random, sys, tempfile
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from faults.test_fuzz import Lab, mutated
lab, pick = Lab(Path(tempfile.mkdtemp(dir="."))), random.Random(99)
for _ in range(int(sys.argv[2])):
    lab.scan("sales", mutated(pick), 3000)
bomb = __import__("gzip").compress(b"x" * (200 << 20))
assert lab.scan("sales", bomb, 1 << 25, "csv.gz").rejected
wide = b",".join(b"c%d" % n for n in range(100_000)) + b"\\n1\\n"
assert lab.scan("sales", wide, 1 << 25).rejected
long = b"transaction_id,customer_id,store_id,product_name,sales_date,sales_person_id,price,quantity,total_cost\\n"
manifest = lab.scan("sales", long + b'"' + b"y" * (150 << 20), 1 << 25)
assert manifest.quarantined == manifest.rows_read == 1, manifest
# Not ru_maxrss: a new process begins with that of the one that starts it.
print(int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) << 10)
"""


def test_memory_stays_below_the_cap_whatever_comes(tmp_path: Path) -> None:
    """A gzip bomb, 100,000 columns, a field of 150 MiB that never ends, and broken drops, in one process."""
    number = "1000" if LONG else "100"
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(Path(__file__).parent.parent), number],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < MEMORY, f"{int(done.stdout) / 2**20:.0f} MiB"
