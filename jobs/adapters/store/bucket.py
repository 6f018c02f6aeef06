"""Objects of an S3 bucket.

boto3 lists and reads drops (a read names its version by If-Match); s3fs is the file system for partial reads of
Parquet files.
"""

import contextlib
import io
import mimetypes
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from typing import Any

import pyarrow as pa

from jobs.adapters.store.errors import RIGHTS, translate, understood
from jobs.config.settings import S3
from jobs.ports.store import ObjectVersion, Result, Span
from jobs.runtime.retries import retried
from marts.errors import ServiceError, Transient, UsageError

_END = 1 << 20
"""Bytes requested from the end of a state object before its size is known: most objects are smaller."""
_WHOLE = 8 << 20
"""Bytes up to which an object is read as a whole: partial reads would take longer."""


_EXISTS = (409, 412)
"""Statuses of a conditional write of an object that exists, or that another writer is writing."""
_NOT_KNOWN = 501
"""Status of a store that knows no conditional writes: there, two writers at the same moment may both write."""
_NEAR = 1 << 18
"""Bytes between two spans that are read along: a request takes longer."""


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Return spans, in order, of which near ones are one."""
    joined: list[Span] = []
    for start, stop in spans:
        if joined and start - joined[-1][1] <= _NEAR:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined


class _Known(io.RawIOBase):
    """A file of which some spans are in memory; it is opened only if others are read."""

    def __init__(self, opened: Callable[[], Any], known: Sequence[tuple[int, bytes]], size: int) -> None:
        self._open, self._known, self._size, self._at = opened, known, size, 0
        self._file: Any = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._at + size, self._size)
        data = self._in_memory(stop)
        if data is None:
            self._file = self._file or self._open()
            self._file.seek(self._at)
            data = self._file.read(stop - self._at)
        self._at += len(data)
        return data

    def _in_memory(self, stop: int) -> bytes | None:
        """Return the bytes up to ``stop`` if they are in memory."""
        for start, data in self._known:
            if start <= self._at and stop <= start + len(data):
                return data[self._at - start : max(stop - start, 0)]
        return None

    def close(self) -> None:
        if self._file:
            self._file.close()
        super().close()


class Bucket:
    """Objects of an S3 bucket below a prefix."""

    whole = True

    def __init__(self, uri: str, s3: S3) -> None:
        self.uri, self._s3 = uri.rstrip("/"), s3
        self.bucket, _, prefix = uri.removeprefix("s3://").strip("/").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        if not self.bucket:
            raise UsageError(f"{uri!r} contains no bucket", "address", "write s3://bucket/prefix")
        self._client = _client(s3)
        self._files: Any = None

    def versions(self, prefix: str) -> list[ObjectVersion]:
        return self._ask(prefix, lambda: self._list(prefix))

    def _list(self, prefix: str) -> list[ObjectVersion]:
        results: list[ObjectVersion] = []
        pages = self._client.get_paginator("list_objects_v2")
        below = f"{self._prefix}{prefix.rstrip('/')}/" if prefix else self._prefix
        for page in pages.paginate(Bucket=self.bucket, Prefix=below):
            results.extend(self._version(entry) for entry in page.get("Contents", []))
        return sorted((v for v in results if not v.key.endswith("/")), key=lambda version: version.key)

    def folders(self) -> list[str]:
        return self._ask("", self._list_folders)

    def _list_folders(self) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2")
        listed = pages.paginate(Bucket=self.bucket, Prefix=self._prefix, Delimiter="/")
        names = (entry["Prefix"] for page in listed for entry in page.get("CommonPrefixes", []))
        return sorted(name.removeprefix(self._prefix).rstrip("/") for name in names)

    def _version(self, entry: dict[str, Any]) -> ObjectVersion:
        modified = entry["LastModified"].astimezone(UTC).isoformat(timespec="microseconds")
        return ObjectVersion(entry["Key"].removeprefix(self._prefix), entry["Size"], entry["ETag"].strip('"'), modified)

    def read(self, version: ObjectVersion, start: int, stop: int) -> bytes:
        return self._ask(version.key, lambda: self._range(version, start, stop))

    def _range(self, version: ObjectVersion, start: int, stop: int) -> bytes:
        data, _ = self._got(version.key, IfMatch=f'"{version.etag}"', Range=f"bytes={start}-{stop - 1}")
        if len(data) != stop - start:
            raise Transient(f"received {len(data):,} bytes instead of {stop - start:,}", version.key)
        return data

    def get(self, key: str) -> bytes:
        return self._ask(key, lambda: self._got(key)[0])

    def _got(self, key: str, **asked: str) -> tuple[bytes, dict[str, Any]]:
        """Request an object or a part of it. Return the bytes and the response."""
        answer = self._client.get_object(Bucket=self.bucket, Key=self._prefix + key, **asked)
        return answer["Body"].read(), answer

    def put(self, key: str, data: bytes | pa.Buffer) -> None:
        self._ask(key, lambda: self._client.put_object(**self._whole(key, data)))

    def _whole(self, key: str, data: bytes | pa.Buffer) -> dict[str, Any]:
        """Return what is asked to write an object."""
        # A browser shows a page only with the right content type.
        content = mimetypes.guess_type(key)[0] or "application/octet-stream"
        return {"Bucket": self.bucket, "Key": self._prefix + key, "Body": bytes(data), "ContentType": content}

    def put_new(self, key: str, data: bytes) -> bool:
        return self._ask(key, lambda: self._create(key, data))

    def _create(self, key: str, data: bytes) -> bool:
        from botocore.exceptions import ClientError

        try:
            self._client.put_object(**self._whole(key, data), IfNoneMatch="*")
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status in _EXISTS:
                return False
            if status != _NOT_KNOWN:
                raise
            if any(version.key == key for version in self._list(key.rpartition("/")[0])):
                return False
            self._client.put_object(**self._whole(key, data))
        return True

    def delete(self, key: str) -> None:
        self._ask(key, lambda: self._client.delete_object(Bucket=self.bucket, Key=self._prefix + key))

    def using(self, key: str, work: Callable[[pa.NativeFile], Result], spans: Sequence[Span] = ()) -> Result:
        return self._ask(key, lambda: self._used(key, work, spans))

    def _used(self, key: str, work: Callable[[pa.NativeFile], Result], spans: Sequence[Span]) -> Result:
        known, size = self._spans(key, spans) if spans else self._end(key)
        if known and len(known[0][1]) == size:
            with understood(key), pa.BufferReader(known[0][1]) as file:
                return work(file)
        # Not with Arrow's handler for s3fs: it reports every failure as a missing file.
        with (
            understood(key),
            _Known(lambda: self._rest(key, known, size), known, size) if known else self._opened(key) as opened,
            pa.PythonFile(opened, mode="r") as file,
        ):
            return work(file)

    def _rest(self, key: str, known: Sequence[tuple[int, bytes]], size: int) -> Any:
        """Open an object of which other bytes are read than are known: a small one is read as a whole."""
        start, end = known[-1]
        if size > _WHOLE or start + len(end) < size:
            return self._opened(key)
        return io.BytesIO(self._before(key, start) + end)

    def _opened(self, key: str) -> Any:
        if self._files is None:
            self._files = _file_system(self._s3)
        return self._files.open(f"{self.bucket}/{self._prefix}{key}", "rb")

    def _end(self, key: str) -> tuple[list[tuple[int, bytes]], int]:
        """Return the last bytes of an object, where Parquet has its footer, and its size; a small one in full."""
        data, size = self._part(key, f"bytes=-{_END}")
        return [(size - len(data), data)] if data else [], size

    def _spans(self, key: str, spans: Sequence[Span]) -> tuple[list[tuple[int, bytes]], int]:
        """Return some spans of an object, near ones as one, and its size."""
        known, size = [], 0
        for start, stop in _joined(spans):
            data, size = self._part(key, f"bytes={start}-{stop - 1}")
            if not data:
                return [], 0
            if len(data) != stop - start:
                raise Transient(f"received {len(data):,} bytes instead of {stop - start:,}", key)
            known.append((start, data))
        return known, size

    def _part(self, key: str, wanted: str) -> tuple[bytes, int]:
        """Return a part of an object, and the size of the whole; nothing if opening it will report the error."""
        from botocore.exceptions import ClientError

        try:
            data, answer = self._got(key, Range=wanted)
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (403, 404, 416):
                return b"", 0
            raise
        return data, int(answer.get("ContentRange", f"/{len(data)}").rpartition("/")[2])

    def _before(self, key: str, stop: int) -> bytes:
        """Read an object up to ``stop``, where the known end begins."""
        return self._got(key, Range=f"bytes=0-{stop - 1}")[0] if stop else b""

    def _ask(self, key: str, request: Callable[[], Result]) -> Result:
        """Send a request, with retries. All requests here may be repeated."""

        def once() -> Result:
            with self._translated(key):
                return request()

        return retried(once, self._s3.deadline)

    def require(self) -> None:
        """Do nothing: the listing reports a missing bucket."""

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Translate the client's errors into MartsError with hints."""
        from aiohttp import ClientError as LostConnection
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            HTTPClientError,
            IncompleteReadError,
            NoCredentialsError,
            SSLError,
        )
        from botocore.exceptions import ConnectionError as NotConnected
        from botocore.parsers import ResponseParserError

        where = f"{self.uri}/{key}"
        try:
            yield
        except ClientError as error:
            raise translate(error, where, self.bucket) from error
        except PermissionError as error:
            raise ServiceError(f"S3 denies access: {error}", where, RIGHTS) from error
        except NoCredentialsError as error:
            hint = (
                "`marts secrets set s3.access_key` and s3.secret_key, or use the platform's own (IRSA, role, profile)"
            )
            raise ServiceError("no credentials for S3", where, hint) from error
        except SSLError as error:
            raise ServiceError(f"cannot verify the certificate: {error}", where, "check s3.endpoint") from error
        except (
            NotConnected,
            HTTPClientError,
            IncompleteReadError,
            ResponseParserError,
            LostConnection,
            OSError,
        ) as error:
            endpoint = self._s3.endpoint or "AWS"
            hint = f"check that {endpoint} is up and reachable from here: `marts doctor`"
            raise Transient(f"S3 does not answer: {error}", where, hint) from error
        except BotoCoreError as error:
            raise ServiceError(f"cannot send a request to S3: {error}", where, "check the settings under s3") from error


def _client(s3: S3) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name=s3.region,
        **_keys(s3, "aws_access_key_id", "aws_secret_access_key", "aws_session_token"),
        config=Config(
            connect_timeout=s3.connect_timeout,
            read_timeout=s3.read_timeout,
            retries={"mode": "standard", "total_max_attempts": 1},
            s3={"addressing_style": "path" if s3.path_style else "auto"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=32,
        ),
    )


def _file_system(s3: S3) -> Any:
    import s3fs

    return s3fs.S3FileSystem(
        **_keys(s3, "key", "secret", "token"),
        client_kwargs={"endpoint_url": s3.endpoint, "region_name": s3.region},
        config_kwargs={
            "connect_timeout": s3.connect_timeout,
            "read_timeout": s3.read_timeout,
            "retries": {"mode": "standard", "total_max_attempts": 1},
            "s3": {"addressing_style": "path" if s3.path_style else "auto"},
        },
        use_listings_cache=False,
        skip_instance_cache=True,
        default_cache_type="readahead",
    )


def _keys(s3: S3, access: str, secret: str, token: str) -> dict[str, str | None]:
    return {
        access: s3.access_key.reveal() if s3.access_key else None,
        secret: s3.secret_key.reveal() if s3.secret_key else None,
        token: s3.session_token.reveal() if s3.session_token else None,
    }
