"""Atomic file writing, lock files, and error messages for failed writes.

A file is either complete or absent, even if the process is killed while writing it.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tenet.errors import StorageError
from tenet.files.plain import check_plain

REMEDIES = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "make room within the quota",
    errno.EFBIG: "raise the file size limit (ulimit -f)",
    errno.EROFS: "remount that disk read-write, or choose another folder",
    errno.EACCES: "get permission to access it, or choose another folder",
    errno.EPERM: "get permission to access it, or choose another folder",
}


def write_atomically(path: Path, write: Callable[[Path], Any], *, previous: Path | None = None) -> None:
    """Call `write` with a temporary path next to `path`, then rename it: readers see the old file or the new one.

    previous: the existing file is moved there first. When this function returns, the file survives a power failure.
    Raises StorageError if the write fails; the existing file is then unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with as_storage_error(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            sync(temporary)
            if previous is not None and path.exists():
                path.replace(previous)
            temporary.replace(path)
            with suppress(OSError):  # some network file systems can't sync a folder
                sync(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed writers. No other process may be writing to the folder."""
    for path in folder.glob(".*.tmp"):
        if path.suffixes[-2:-1] and path.suffixes[-2][1:].isdecimal() and path.is_file():
            path.unlink(missing_ok=True)


def hold(path: Path) -> IO[str] | None:
    """Lock the file `path`. The lock lasts until the returned file is closed. Returns None if another process holds it.

    The kernel releases the lock when the process ends, even if it is killed. The holder may delete the file before it
    releases the lock. Raises OSError if `path` is not a plain file.
    """
    while True:
        check_plain(path)
        # Not "w": in an untrusted folder `path` may be a link, and its target would be truncated.
        lock = path.open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                return lock
        lock.close()  # the holder has deleted this file in the meantime; the next process would lock a new one


@contextmanager
def as_storage_error(path: Path) -> Iterator[None]:
    """Convert an OSError into a StorageError that names the file and the remedy."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(describe_os_error(error, path)) from error


def describe_os_error(error: OSError, path: Path | None = None) -> str:
    """Return a message such as `FILE: No space left on device; make room on that disk, then start the same command again`.

    path: the file to name, if it differs from the one that the error names.
    """
    file = path or error.filename or (None if error.errno != errno.ENOSPC else "the output, or a file")
    if error.errno not in REMEDIES:
        return str(error) if path is None else f"{path}: {error}"
    remedy = f"{error.strerror}; {REMEDIES[error.errno]}, then start the same command again"
    return remedy if file is None else f"{file}: {remedy}"
