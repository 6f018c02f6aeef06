"""Objects in a folder or an S3 bucket: drops that are only read, state that is read and written.

boto3 lists and reads drops (a read names the version it wants, by If-Match); s3fs is the file system
through which Parquet is read by parts.
"""

import contextlib
import io
import mimetypes
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeVar

import pyarrow as pa

from jobs.config.settings import S3
from jobs.runtime.retries import retried
from marts.errors import ObjectChanged, ObjectUnreadable, ServiceError, StateDamaged, Transient, UsageError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

Result = TypeVar("Result")


@dataclass(frozen=True)
class ObjectVersion:
    """One version of one object."""

    key: str
    """Path below the store's root, with forward slashes."""
    size: int
    etag: str
    modified: str
    """UTC, ISO 8601 with microseconds: sorts as it reads."""


class Store(Protocol):
    """A place with objects."""

    uri: str
    whole: bool
    """An object is there as a whole or not at all; a file may be seen while it is being written."""

    def versions(self, prefix: str) -> list[ObjectVersion]:
        """List all objects under a prefix, by key."""

    def read(self, version: ObjectVersion, start: int, stop: int) -> bytes:
        """Read bytes of exactly this version. Raises ObjectChanged if it is no longer there."""

    def get(self, key: str) -> bytes:
        """Read a whole object of our own."""

    def put(self, key: str, data: bytes | pa.Buffer) -> None:
        """Write a whole object: readers see all of it or nothing."""

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is fine."""

    def using(self, key: str, work: Callable[[pa.NativeFile], Result]) -> Result:
        """Open an object of our own and read it by parts; ``work`` may be called again.

        Raises StateDamaged if it is gone or cannot be understood.
        """

    def require(self) -> None:
        """Raise UsageError if the place itself is not there."""


@lru_cache(maxsize=8)
def open_store(uri: str, s3: S3) -> Store:
    """Open a folder or s3://bucket/prefix; one client per process and address."""
    if uri.startswith("s3://"):
        return Bucket(uri, s3)
    if "://" in uri and not uri.startswith("file://"):
        raise UsageError(f"{uri!r} is neither a folder nor s3://bucket/prefix", "address")
    return Folder(uri.removeprefix("file://"))


@dataclass(frozen=True)
class StoreAddress:
    """Where a store is, and how to open it: tasks on other nodes get this instead of a store."""

    uri: str
    s3: S3

    @classmethod
    def of(cls, uri: str, s3: S3) -> "StoreAddress":
        """Return an address that means the same in every process: a folder's is absolute."""
        return cls(open_store(uri, s3).uri, s3)

    def open(self) -> Store:
        """Return the store."""
        return open_store(self.uri, self.s3)


class VersionReader(io.RawIOBase):
    """Read one version of an object from its start to its end."""

    def __init__(self, store: Store, version: ObjectVersion, step: int = 8 << 20) -> None:
        self._store, self._version, self._step, self._at = store, version, step, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + min(len(buffer), self._step), self._version.size)
        data = self._store.read(self._version, self._at, stop) if stop > self._at else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class Folder:
    """Objects are the files of a folder. The version of a file is its inode, size and time of change."""

    whole = False

    def __init__(self, root: str) -> None:
        self.root = Path(root).absolute()
        self.uri = str(self.root)
        self._within = f"{self.uri.rstrip(os.sep)}{os.sep}"

    def versions(self, prefix: str) -> list[ObjectVersion]:
        top = self.root / prefix
        with self._translated(prefix):
            return sorted(self._walk(str(top)), key=lambda version: version.key) if top.is_dir() else []

    def _walk(self, top: str) -> Iterator[ObjectVersion]:
        for entry in os.scandir(top):
            if entry.is_dir():
                yield from self._walk(entry.path)
            elif entry.is_file():
                with contextlib.suppress(FileNotFoundError):
                    yield self._version(entry.path, entry.stat())

    def _version(self, path: str, stat: os.stat_result) -> ObjectVersion:
        key = path[len(self._within) :].replace(os.sep, "/")  # a Path for each of many files takes ten times as long
        if not key.isprintable():
            # A name that is not UTF-8: shown, and never taken for a drop.
            key = f"{key.encode('utf-8', 'backslashreplace').decode()} (unreadable name)"
        modified = datetime.fromtimestamp(stat.st_mtime_ns // 1000 / 1e6, UTC).isoformat(timespec="microseconds")
        # The time of change cannot be set by hand, unlike that of modification, which orders the deliveries.
        etag = f"{stat.st_ctime_ns:x}-{stat.st_ino:x}-{stat.st_size:x}"
        return ObjectVersion(key, stat.st_size, etag, modified)

    def read(self, version: ObjectVersion, start: int, stop: int) -> bytes:
        path = self.root / version.key
        with self._translated(version.key), path.open("rb") as file:
            self._same(version, path, file)
            file.seek(start)
            data = file.read(stop - start)
            self._same(version, path, file)
        if len(data) != stop - start:
            raise ObjectChanged("became shorter while it was read", version.key)
        return data

    def _same(self, version: ObjectVersion, path: Path, file: BinaryIO) -> None:
        if self._version(str(path), os.fstat(file.fileno())).etag != version.etag:
            raise ObjectChanged("changed while it was read", version.key)

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Turn the system's errors into ours, with what to do."""
        try:
            yield
        except FileNotFoundError as error:
            raise ObjectChanged("vanished while it was read", key) from error
        except OSError as error:
            hint = "check that we may read it"
            raise ObjectUnreadable(f"cannot be read: {error.strerror}", str(self.root / key), hint) from error

    def get(self, key: str) -> bytes:
        with self._translated(key):
            return (self.root / key).read_bytes()

    def put(self, key: str, data: bytes | pa.Buffer) -> None:
        path = self.root / key
        partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            partial.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            hint = "the live marts are untouched; free some space or fix the rights, then run again"
            raise ServiceError(f"cannot be written: {error.strerror}", str(path), hint) from error

    def delete(self, key: str) -> None:
        path = self.root / key
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ServiceError(f"cannot be removed: {error.strerror}", str(path), "fix the rights") from error

    def using(self, key: str, work: Callable[[pa.NativeFile], Result]) -> Result:
        with self._translated(key), _understood(key), pa.memory_map(str(self.root / key)) as file:
            return work(file)

    def require(self) -> None:
        if not self.root.is_dir():
            what = "is a file, not a folder" if self.root.exists() else "there is no such folder"
            raise UsageError(what, self.uri, "check --source")


_END = 1 << 20
"""Bytes of an object of the state that are asked for before its size is known: most are smaller."""
_WHOLE = 8 << 20
"""Bytes of an object that is read as a whole: to look for its parts takes longer."""


class _Ending(io.RawIOBase):
    """A file whose end is known; it is opened only if more is read."""

    def __init__(self, opened: Callable[[], Any], end: bytes, size: int) -> None:
        self._open, self._end, self._size, self._at = opened, end, size, 0
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
        known = self._size - len(self._end)
        if self._at >= known:
            data = self._end[self._at - known : max(stop - known, 0)]
        else:
            self._file = self._file or self._open()
            self._file.seek(self._at)
            data = self._file.read(stop - self._at)
        self._at += len(data)
        return data

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
            raise UsageError(f"{uri!r} names no bucket", "address", "write s3://bucket/prefix")
        self._client = _client(s3)
        self._files: Any = None

    def versions(self, prefix: str) -> list[ObjectVersion]:
        return self._ask(prefix, lambda: self._list(prefix))

    def _list(self, prefix: str) -> list[ObjectVersion]:
        found: list[ObjectVersion] = []
        pages = self._client.get_paginator("list_objects_v2")
        below = f"{self._prefix}{prefix.rstrip('/')}/" if prefix else self._prefix
        for page in pages.paginate(Bucket=self.bucket, Prefix=below):
            found.extend(self._version(entry) for entry in page.get("Contents", []))
        return sorted((v for v in found if not v.key.endswith("/")), key=lambda version: version.key)

    def _version(self, entry: dict[str, Any]) -> ObjectVersion:
        modified = entry["LastModified"].astimezone(UTC).isoformat(timespec="microseconds")
        return ObjectVersion(entry["Key"].removeprefix(self._prefix), entry["Size"], entry["ETag"].strip('"'), modified)

    def read(self, version: ObjectVersion, start: int, stop: int) -> bytes:
        return self._ask(version.key, lambda: self._range(version, start, stop))

    def _range(self, version: ObjectVersion, start: int, stop: int) -> bytes:
        data, _ = self._got(version.key, IfMatch=f'"{version.etag}"', Range=f"bytes={start}-{stop - 1}")
        if len(data) != stop - start:
            raise Transient(f"{len(data):,} bytes came instead of {stop - start:,}", version.key)
        return data

    def get(self, key: str) -> bytes:
        return self._ask(key, lambda: self._got(key)[0])

    def _got(self, key: str, **asked: str) -> tuple[bytes, dict[str, Any]]:
        """Ask for an object, or a part of it. Gives the bytes, and what is said of them."""
        answer = self._client.get_object(Bucket=self.bucket, Key=self._prefix + key, **asked)
        return answer["Body"].read(), answer

    def put(self, key: str, data: bytes | pa.Buffer) -> None:
        # A browser shows a page only if the store says that it is one.
        content = mimetypes.guess_type(key)[0] or "application/octet-stream"
        whole = {"Bucket": self.bucket, "Key": self._prefix + key, "Body": bytes(data), "ContentType": content}
        self._ask(key, lambda: self._client.put_object(**whole))

    def delete(self, key: str) -> None:
        self._ask(key, lambda: self._client.delete_object(Bucket=self.bucket, Key=self._prefix + key))

    def using(self, key: str, work: Callable[[pa.NativeFile], Result]) -> Result:
        return self._ask(key, lambda: self._used(key, work))

    def _used(self, key: str, work: Callable[[pa.NativeFile], Result]) -> Result:
        end, size = self._end(key)
        if end and size <= _WHOLE:
            with _understood(key), pa.BufferReader(self._before(key, size - len(end)) + end) as file:
                return work(file)
        # Not by Arrow's own way to open a file of s3fs: it takes whatever fails for a file that is not there.
        with (
            _understood(key),
            _Ending(lambda: self._opened(key), end, size) if end else self._opened(key) as opened,
            pa.PythonFile(opened, mode="r") as file,
        ):
            return work(file)

    def _opened(self, key: str) -> Any:
        if self._files is None:
            self._files = _file_system(self._s3)
        return self._files.open(f"{self.bucket}/{self._prefix}{key}", "rb")

    def _end(self, key: str) -> tuple[bytes, int]:
        """Give the end of an object, where Parquet says what is in it, and its size; of a small one, that is all."""
        from botocore.exceptions import ClientError

        try:
            data, answer = self._got(key, Range=f"bytes=-{_END}")
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (403, 404, 416):
                return b"", 0  # whoever opens it says what is wrong
            raise
        return data, int(answer.get("ContentRange", f"/{len(data)}").rpartition("/")[2])

    def _before(self, key: str, stop: int) -> bytes:
        """Read an object up to its end that is known already."""
        return self._got(key, Range=f"bytes=0-{stop - 1}")[0] if stop else b""

    def _ask(self, key: str, request: Callable[[], Result]) -> Result:
        """Make a request; one that fails for a while is made again. All of ours may be."""

        def once() -> Result:
            with self._translated(key):
                return request()

        return retried(once, self._s3.deadline)

    def require(self) -> None:
        """A bucket that is not there is named by the listing."""

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Turn the client's errors into ours, with what to do."""
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
            raise _translate(error, where, self.bucket) from error
        except PermissionError as error:
            raise ServiceError(f"S3 refuses us: {error}", where, _RIGHTS) from error
        except NoCredentialsError as error:
            hint = (
                "`marts secrets set s3.access_key` and s3.secret_key, or use the platform's own (IRSA, role, profile)"
            )
            raise ServiceError("there are no credentials for S3", where, hint) from error
        except SSLError as error:
            raise ServiceError(f"the certificate is refused: {error}", where, "check s3.endpoint") from error
        except (
            NotConnected,
            HTTPClientError,
            IncompleteReadError,
            ResponseParserError,
            LostConnection,
            OSError,
        ) as error:
            endpoint = self._s3.endpoint or "AWS"
            hint = f"is {endpoint} up and reachable from here? `marts doctor` looks closer"
            raise Transient(f"S3 does not answer: {error}", where, hint) from error
        except BotoCoreError as error:
            raise ServiceError(f"S3 cannot be asked: {error}", where, "check the settings under s3") from error


def _translate(error: "ClientError", where: str, bucket: str) -> ServiceError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    operation = error.operation_name
    if code in ("PreconditionFailed", "NoSuchKey", "InvalidRange", "404") or status in (412, 416):
        return ObjectChanged("changed or vanished while it was read", where)
    if code == "NoSuchBucket":
        return ServiceError(f"there is no bucket {bucket!r}", where, "check --source and --state")
    if code == "AccessDenied" and operation == "GetObject":
        return ObjectUnreadable(f"S3 refuses to give it ({code})", where, "check our rights on this object")
    if status in (401, 403) or code == "ExpiredToken":
        return ServiceError(f"S3 refuses us ({code})", where, _RIGHTS)
    kind = Transient if code in _BUSY or status in _BUSY else ServiceError
    return kind(f"S3 failed ({code or status})", where, "see what the storage says of itself")


_RIGHTS = "check s3.access_key and s3.secret_key, and their rights: list, get and put; `marts doctor` tries them"
_BUSY = {"SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "InternalError", "RequestLimitExceeded"} | {
    *(408, 429, 500, 502, 503, 504)
}
"""Codes of S3's errors, and statuses, that say: try again."""


@contextlib.contextmanager
def _understood(key: str) -> Iterator[None]:
    """Tell a file that is damaged or gone from a storage that does not answer."""
    try:
        yield
    except FileNotFoundError as error:
        raise StateDamaged("is gone", key, _MADE_AGAIN) from error
    except pa.ArrowMemoryError:
        raise
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError, UnicodeDecodeError) as error:
        raise StateDamaged(f"is damaged: {error}", key, _MADE_AGAIN) from error
    except OSError as error:
        if error.errno is None and type(error) is OSError:  # Arrow's own: what it reads is no Parquet
            raise StateDamaged(f"is damaged: {error}", key, _MADE_AGAIN) from error
        raise


_MADE_AGAIN = "the next build makes it again; the live marts are untouched"


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
