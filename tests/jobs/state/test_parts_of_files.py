"""Readers of some row groups ask a store for the bytes of these, and for the footer of a file once."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.servers import S3Server

from jobs.adapters.store.bucket import Bucket
from jobs.adapters.store.folder import Folder
from jobs.adapters.store.open import open_store
from jobs.config.settings import S3
from jobs.ports.store import Span, Store
from jobs.state import parquet
from jobs.state.parquet import footer, parquet_bytes, spans_of
from marts.errors import StateDamaged

ROWS = 60_000
TABLE = pa.table({"id": range(ROWS), "text": [sha256(b"%d" % n).hexdigest() for n in range(ROWS)]})
GROUPS = [(start, start + 6_000) for start in range(0, ROWS, 6_000)]
KEY = "facts/table.parquet"


@dataclass
class Requests:
    """What was asked of a bucket."""

    ranges: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        spans = (text.removeprefix("bytes=").split("-") for text in self.ranges)
        return sum(int(last) - int(first or 0) + 1 if first else int(last) for first, last in spans)


@pytest.fixture
def bucket(s3_server: S3Server) -> Store:
    name = f"parts-{secrets.token_hex(4)}"
    s3_server.make_bucket(name)
    return open_store(f"s3://{name}/state", S3(**s3_server.settings))


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    seen, got = Requests(), Bucket._got

    def recorded(store: Bucket, key: str, **asked: str) -> Any:
        seen.ranges.append(asked.get("Range", "bytes=0-"))
        return got(store, key, **asked)

    monkeypatch.setattr(Bucket, "_got", recorded)
    return seen


@pytest.fixture(autouse=True)
def _no_footers() -> Iterator[None]:
    parquet._footers.clear()
    yield
    parquet._footers.clear()


def read(store: Store, groups: list[int], spans: list[Span] | None = None) -> pa.Table:
    metadata = footer(store, KEY)
    spans = spans_of(metadata, groups) if spans is None else spans

    def work(file: pa.NativeFile) -> pa.Table:
        return pq.ParquetFile(file, metadata=metadata).read_row_groups(groups, use_threads=False)

    return store.using(KEY, work, spans)


def rows_of(groups: list[int]) -> pa.Table:
    return pa.concat_tables(TABLE.slice(start, stop - start) for start, stop in (GROUPS[n] for n in groups))


def test_of_some_row_groups_only_their_bytes_are_requested(bucket: Store, requests: Requests) -> None:
    content = parquet_bytes(TABLE, GROUPS, by="id")
    bucket.put(KEY, content)
    size, group = len(content), spans_of(pq.read_metadata(pa.BufferReader(content)), [3])[0]
    assert size > 1 << 20, "it has more than its end"
    footer(bucket, KEY)
    requests.ranges.clear()
    assert read(bucket, [3]).equals(rows_of([3]))
    assert requests.ranges == [f"bytes={group[0]}-{group[1] - 1}"], "the footer is known"
    requests.ranges.clear()
    assert read(bucket, [2, 3]).equals(rows_of([2, 3]))
    assert len(requests.ranges) == 1, "neighbours are read together"
    requests.ranges.clear()
    assert read(bucket, [0, 9]).equals(rows_of([0, 9]))
    assert len(requests.ranges) == 2
    assert requests.bytes < size / 4


def test_what_is_read_beyond_the_spans_is_fetched(bucket: Store) -> None:
    bucket.put(KEY, parquet_bytes(TABLE, GROUPS, by="id"))
    spans = spans_of(footer(bucket, KEY), [4])
    assert read(bucket, [0, 4, 8], spans).equals(rows_of([0, 4, 8]))


def test_a_part_that_ends_early_is_requested_again(bucket: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put(KEY, parquet_bytes(TABLE, GROUPS, by="id"))
    footer(bucket, KEY)
    got, answers = Bucket._got, iter([True])

    def cut(store: Bucket, key: str, **asked: str) -> Any:
        data, answer = got(store, key, **asked)
        return data[:-1] if next(answers, False) else data, answer

    monkeypatch.setattr(Bucket, "_got", cut)
    assert read(bucket, [3]).equals(rows_of([3]))


@pytest.mark.parametrize("groups", [[0], [5, 6], [0, 9]])
def test_a_folder_reads_the_same(tmp_path: Path, groups: list[int]) -> None:
    store = Folder(str(tmp_path))
    store.put(KEY, parquet_bytes(TABLE, GROUPS, by="id"))
    assert read(store, groups).equals(rows_of(groups))


def test_an_object_that_is_missing_is_damage_of_the_state(bucket: Store) -> None:
    bucket.put(KEY, parquet_bytes(TABLE, GROUPS, by="id"))
    metadata = footer(bucket, KEY)
    bucket.delete(KEY)
    with pytest.raises(StateDamaged, match="is missing"):
        bucket.using(KEY, lambda file: file.read(), spans_of(metadata, [1]))


def test_a_row_group_without_rows_has_no_bytes(tmp_path: Path) -> None:
    store = Folder(str(tmp_path))
    store.put(KEY, parquet_bytes(TABLE.slice(0, 0), [], by="id"))
    metadata = footer(store, KEY)
    assert spans_of(metadata, range(metadata.num_row_groups)) == []


def test_a_process_keeps_so_many_footers_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_FOOTERS", 2)
    store = Folder(str(tmp_path))
    for name in "abc":
        store.put(name, parquet_bytes(TABLE.slice(0, 10)))
        footer(store, name)
    assert [key for _, key in parquet._footers] == ["b", "c"]
