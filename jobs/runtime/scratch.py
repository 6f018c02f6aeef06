"""Folder of this process for what it needs only while it works, such as rows that do not fit into memory.

A process keeps its folder locked for as long as it lives, and the kernel unlocks it however the process ends. So a
folder that nobody has locked was left by a process that was killed, and the next one of the same user removes it.
"""

import atexit
import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from marts.errors import ServiceError

PREFIX = "marts-scratch-"
_NAME = re.compile(PREFIX + "[a-z0-9_]{8}")
_LOCK = "lock"
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class _Folder:
    path: Path
    lock: int
    """Descriptor of the locked file."""
    process: int


_own: _Folder | None = None
_path: Path | None = None
"""Path that the folder of this process had, to be taken again."""
_shared: Path | None = None


def folder() -> Path:
    """Return the folder of this process, created and locked when it is first asked for; removed when the process ends.

    Raises ServiceError if the temporary folder takes no files.
    """
    global _own, _path
    with _one_at_a_time:
        if _shared:
            return _shared
        if _own is None or _own.process != os.getpid():
            if _path is None:
                sweep()
                atexit.register(remove)
            try:
                _own = _create(_path if _own is None else None)
            except OSError as error:
                hint = "free some space there, or name another folder in TMPDIR"
                raise ServiceError(f"no scratch folder can be created: {error}", tempfile.gettempdir(), hint) from error
            _path = _own.path
        return _own.path


def share(path: Path | None) -> None:
    """Use the folder of another process, which outlives this one and removes it; ``None`` goes back to one's own."""
    global _shared
    _shared = path


def release() -> None:
    """Remove the folder of this process if nothing is in it; it is created again, at the same place, when needed."""
    global _own
    with _one_at_a_time:
        if _own and _own.process == os.getpid() and [item.name for item in _own.path.iterdir()] == [_LOCK]:
            _remove(_own.path, _own.lock)
            _own = None


def remove() -> None:
    """Remove the folder of this process, with all that is in it."""
    global _own, _path
    with _one_at_a_time:
        if _own and _own.process == os.getpid():
            _remove(_own.path, _own.lock)
        _own = _path = None


def sweep() -> None:
    """Remove the folders that dead processes of this user have left. What is not exactly ours is not touched."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if _NAME.fullmatch(path.name):
            with contextlib.suppress(OSError):  # somebody else removes it, or it cannot be removed: the next may
                _sweep(path)


def _sweep(path: Path) -> None:
    status = path.lstat()
    if status.st_uid != os.getuid() or not path.is_dir() or path.is_symlink():
        return
    lock = _locked(path)
    if lock is not None:
        _remove(path, lock)


def _create(again: Path | None) -> _Folder:
    """Create a folder and lock it. One that sweeps may see it before it is locked, and be quicker."""
    while True:
        if again:
            again.mkdir(0o700, exist_ok=True)
        path = again or Path(tempfile.mkdtemp(prefix=PREFIX))
        with contextlib.suppress(FileNotFoundError):
            lock = _locked(path)
            if lock is not None:
                return _Folder(path, lock, os.getpid())
        again = None


def _locked(path: Path) -> int | None:
    """Return the descriptor of a folder's locked file, or None if another process has it, or the folder is removed."""
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), (path / _LOCK).stat()):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)
    return None


def _remove(path: Path, lock: int) -> None:
    """Remove a folder that is locked, then unlock it; the file of the lock goes last, so that nobody else takes it."""
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != _LOCK:
            entry.unlink()
    with contextlib.suppress(OSError):
        (path / _LOCK).unlink()
        path.rmdir()
    os.close(lock)
