"""Read one version of an object as a file."""

import io
from typing import Any

from jobs.ports.store import ObjectVersion, Store


class VersionReader(io.RawIOBase):
    """Read one version of an object, from its start to its end or in any order."""

    def __init__(self, store: Store, version: ObjectVersion, step: int = 8 << 20) -> None:
        self._store, self._version, self._step, self._at = store, version, step, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._version.size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + min(len(buffer), self._step), self._version.size)
        data = self._store.read(self._version, self._at, stop) if stop > self._at else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
