"""Atomic file writing, lock files, and error messages for failed writes.

A file is either complete or absent, even if the process is killed while writing it.
"""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tenet.errors import StorageError
from tenet.files.plain import check_plain

logger = logging.getLogger("tenet")

REMEDIES = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "make room within the quota",
    errno.EFBIG: "raise the file size limit (ulimit -f)",
    errno.EROFS: "remount that disk read-write, or choose another folder",
    errno.EACCES: "get permission to access it, or choose another folder",
    errno.EPERM: "get permission to access it, or choose another folder",
    errno.EISDIR: "move that folder away",
    errno.ENOTDIR: "move the file away that stands where a folder belongs",
    errno.EEXIST: "move the file away that stands where a folder belongs",
}
# A file system may have no fsync, for example one in user space. The data is then as safe as it can be there.
NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


POLL_S = 0.2  # between two tries to get a lock
# What flock answers on a file system without locks, such as some mounts of NFS and Lustre.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def write_atomically(path: Path, write: Callable[[Path], Any], *, previous: Path | None = None) -> None:
    """Call `write` with a temporary path next to `path`, then rename it: readers see the old file or the new one.

    previous: the existing file is moved there first. When this function returns, the file survives a power failure.
    Raises StorageError if the write fails; the existing file is then unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with as_storage_error(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)  # in an untrusted folder it may be a link
            write(temporary)
            sync(temporary)
            if previous is not None and path.exists():
                path.replace(previous)
            temporary.replace(path)
            with suppress(OSError):  # some network file systems can't open a folder, or fail to sync it
                sync(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk, if the file system can do this."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
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
    releases the lock. Where the file system has no locks, a warning says so and the file counts as locked.
    Raises OSError if `path` is not a plain file.
    """
    while True:
        check_plain(path)
        # Not "w": in an untrusted folder `path` may be a link, and its target would be truncated.
        lock = path.open("a")
        try:
            is_held = not take_lock(lock)
        except StorageError:
            lock.close()
            raise
        if is_held:
            lock.close()
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                return lock
        lock.close()  # the holder has deleted this file in the meantime; the next process would lock a new one


@contextmanager
def locked(path: Path, *, reason: str) -> Iterator[None]:
    """Hold the lock of the file `path` within the block; wait while another process does. The file is removed.

    reason: what the other process is doing, for the line that says what is waited for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = hold(path)
    if lock is None:
        logger.info("waiting for another process: %s", reason)
    while lock is None:
        time.sleep(POLL_S)
        lock = hold(path)
    with lock:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def take_lock(file: IO[Any]) -> bool:
    """Lock an open file without waiting; False if another process holds the lock.

    Warns and returns True if the file system has no locks. Raises StorageError if locking fails otherwise.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # EAGAIN, or EACCES on some systems
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise StorageError(
                f"{file.name}: can't be locked: {error.strerror}; choose another disk"
            ) from error
        logger.warning(
            "%s: the file system has no locks (%s), so nothing stops a second process: start only one at a time",
            file.name, error.strerror,
        )  # fmt: skip
    return True


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
