"""Of several writers of one object at the same time, one writes it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from support.servers import S3Server

from jobs.adapters.store.bucket import Bucket
from jobs.adapters.store.folder import Folder
from jobs.config.settings import S3


def of_writers(store: Folder | Bucket) -> None:
    """Let 8 writers write the same object, each its own text."""
    texts = [f"text of {number}".encode() * 1000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda text: store.put_new("a/b.json", text), texts))
    assert results.count(True) == 1
    assert store.get("a/b.json") == texts[results.index(True)]
    assert not store.put_new("a/b.json", b"later")
    assert [version.key for version in store.versions("")] == ["a/b.json"]


def one_after_the_other(store: Folder | Bucket) -> None:
    assert store.put_new("a/b.json", b"first")
    assert not store.put_new("a/b.json", b"second")
    assert store.get("a/b.json") == b"first"
    assert [version.key for version in store.versions("")] == ["a/b.json"]


def bucket_of(server: S3Server) -> Bucket:
    return Bucket(f"s3://{server.make_bucket(f'new-{uuid4()}')}/x", S3(**server.settings))


def test_in_a_folder(tmp_path: Path) -> None:
    of_writers(Folder(str(tmp_path)))


def test_in_a_folder_whose_files_cannot_be_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    one_after_the_other(Folder(str(tmp_path)))


def test_in_a_bucket(s3_server: S3Server) -> None:
    of_writers(bucket_of(s3_server))


def test_in_a_bucket_that_knows_no_conditions(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import ClientError

    store = bucket_of(s3_server)
    put = store._client.put_object

    def old(**asked: Any) -> Any:
        if "IfNoneMatch" in asked:
            answer: Any = {"ResponseMetadata": {"HTTPStatusCode": 501}, "Error": {"Code": "NotImplemented"}}
            raise ClientError(answer, "PutObject")
        return put(**asked)

    monkeypatch.setattr(store._client, "put_object", old)
    one_after_the_other(store)
