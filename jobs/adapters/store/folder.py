"""A store whose objects are the files of a folder."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from jobs.adapters.store.errors import understood
from jobs.ports.store import ObjectVersion, Result, Span
from marts.errors import ObjectChanged, ObjectUnreadable, ServiceError, UsageError


class Folder:
    """A store whose objects are the files of a folder. The version of a file is its inode, size and time of change."""

    whole = False

    def __init__(self, root: str) -> None:
        self.root = Path(root).absolute()
        self.uri = str(self.root)
        self._within = f"{self.uri.rstrip(os.sep)}{os.sep}"

    def versions(self, prefix: str) -> list[ObjectVersion]:
        top = self.root / prefix
        with self._translated(prefix):
            return sorted(self._walk(str(top)), key=lambda version: version.key) if top.is_dir() else []

    def folders(self) -> list[str]:
        with self._translated(""):
            return sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir()) if self.root.is_dir() else []

    def _walk(self, top: str, above: tuple[str, ...] = ()) -> Iterator[ObjectVersion]:
        """Yield the files below a folder. Linked folders are followed, but not into a folder that contains them."""
        real = os.path.realpath(top)
        if real in above:
            return
        for entry in os.scandir(top):
            if entry.is_dir():
                yield from self._walk(entry.path, (*above, real))
            elif entry.is_file():
                with contextlib.suppress(FileNotFoundError):
                    yield self._version(entry.path, entry.stat())

    def _version(self, path: str, stat: os.stat_result) -> ObjectVersion:
        key = path[len(self._within) :].replace(os.sep, "/")  # a Path for each file would take ten times as long
        if not key.isprintable():
            # A name that is not UTF-8: it is reported, but never matches a drop.
            key = f"{key.encode('utf-8', 'backslashreplace').decode()} (unreadable name)"
        modified = datetime.fromtimestamp(stat.st_mtime_ns // 1000 / 1e6, UTC).isoformat(timespec="microseconds")
        # The time of change cannot be set by a user, unlike the time of modification, which orders the deliveries.
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
        """Translate the system's errors into MartsError with hints."""
        try:
            yield
        except FileNotFoundError as error:
            raise ObjectChanged("vanished while it was read", key) from error
        except OSError as error:
            hint = "check its permissions"
            raise ObjectUnreadable(f"cannot be read: {error.strerror}", str(self.root / key), hint) from error

    def get(self, key: str) -> bytes:
        with self._translated(key):
            return (self.root / key).read_bytes()

    def put(self, key: str, data: bytes | pa.Buffer) -> None:
        with self._written(key, data) as (partial, path):
            partial.replace(path)

    def put_new(self, key: str, data: bytes) -> bool:
        with self._written(key, data) as (partial, path):
            try:
                path.hardlink_to(partial)
            except FileExistsError:
                return False
            except OSError:  # a file system without links: there, two writers at the same moment may both write
                if path.exists():
                    return False
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        return True

    @contextlib.contextmanager
    def _written(self, key: str, data: bytes | pa.Buffer) -> Iterator[tuple[Path, Path]]:
        """Write a partial file beside a file. Yield the paths of both."""
        path = self.root / key
        partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            yield partial, path
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            hint = "the live marts are untouched; free some space or fix the permissions, then run again"
            raise ServiceError(f"cannot be written: {error.strerror}", str(path), hint) from error

    def delete(self, key: str) -> None:
        path = self.root / key
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ServiceError(f"cannot be removed: {error.strerror}", str(path), "fix the permissions") from error

    def using(self, key: str, work: Callable[[pa.NativeFile], Result], spans: Sequence[Span] = ()) -> Result:
        with self._translated(key), understood(key), pa.memory_map(str(self.root / key)) as file:
            return work(file)

    def require(self) -> None:
        if not self.root.is_dir():
            what = "is a file, not a folder" if self.root.exists() else "the folder does not exist"
            raise UsageError(what, self.uri, "check --source")
