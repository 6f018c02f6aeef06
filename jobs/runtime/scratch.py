"""Scratch folder of this process for temporary data, such as rows that do not fit into memory.

A process holds a lock on its folder while it lives, and the kernel releases the lock however the process ends. An
unlocked folder was therefore left by a killed process, and the next process of the same user removes it.
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
"""Last path of the folder of this process, for reuse."""
_shared: Path | None = None


def folder() -> Path:
    """Return the folder of this process. The first call creates and locks it; it is removed when the process ends.

    Raises ServiceError if it cannot be created.
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
                hint = "free some space there, or set TMPDIR to another folder"
                raise ServiceError(f"cannot create a scratch folder: {error}", tempfile.gettempdir(), hint) from error
            _path = _own.path
        return _own.path


def share(path: Path | None) -> None:
    """Use the folder of another process, which outlives this one and removes it. ``None`` ends the sharing."""
    global _shared
    _shared = path


def release() -> None:
    """Remove the folder of this process if it is empty. `folder` creates it again when needed, at the same path."""
    global _own
    with _one_at_a_time:
        if _own and _own.process == os.getpid() and [item.name for item in _own.path.iterdir()] == [_LOCK]:
            _remove(_own.path, _own.lock)
            _own = None


def remove() -> None:
    """Remove the folder of this process and its contents."""
    global _own, _path
    with _one_at_a_time:
        if _own and _own.process == os.getpid():
            _remove(_own.path, _own.lock)
        _own = _path = None


def sweep() -> None:
    """Remove folders left by dead processes of this user. Nothing else is touched."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if _NAME.fullmatch(path.name):
            with contextlib.suppress(OSError):  # another process removes it, or it cannot be removed: later sweeps may
                _sweep(path)


def _sweep(path: Path) -> None:
    status = path.lstat()
    if status.st_uid != os.getuid() or not path.is_dir() or path.is_symlink():
        return
    lock = _locked(path)
    if lock is not None:
        _remove(path, lock)


def _create(again: Path | None) -> _Folder:
    """Create a folder and lock it. Start over if the sweep of another process removes it before it is locked."""
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
    """Return the descriptor of a folder's locked file; None if another process holds it or the folder was removed."""
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
    """Remove a locked folder, then unlock it. The lock file is removed last, so that no other process can lock it."""
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != _LOCK:
            entry.unlink()
    with contextlib.suppress(OSError):
        (path / _LOCK).unlink()
        path.rmdir()
    os.close(lock)
