"""Files that are whole or not there, whatever ends the process, and what to do when the disk refuses one."""

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
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "mount that disk for writing, or choose another folder",
    errno.EACCES: "get the right to it, or choose another folder",
    errno.EPERM: "get the right to it, or choose another folder",
}


def write_atomically(path: Path, write: Callable[[Path], Any], *, previous: Path | None = None) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it: readers see the old or the new.

    previous: where the old one goes. Safe from a loss of power too, once this returns. Raises StorageError,
    with everything as it was, where the disk refuses.
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
            with suppress(OSError):  # not every file system can: some on a network
                sync(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until what was written to a file, or the names in a folder, are on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of writers that were killed; no other may be at work in the folder."""
    for path in folder.glob(".*.tmp"):
        if path.suffixes[-2:-1] and path.suffixes[-2][1:].isdecimal() and path.is_file():
            path.unlink(missing_ok=True)


def hold(path: Path) -> IO[str] | None:
    """Hold the lock file `path` until what is returned is closed; None where another process does.

    The lock is the kernel's: it ends with its holder, however that ends. A holder may remove the file before it
    lets go. Raises OSError where it is no plain file.
    """
    while True:
        check_plain(path)
        # Not "w": in a folder from others it may be a link, whose file would be emptied.
        lock = path.open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                return lock
        lock.close()  # its holder has removed it meanwhile: who comes next would hold another file


@contextmanager
def as_storage_error(path: Path) -> Iterator[None]:
    """Turn what the disk says to a writer into a StorageError with the file and the remedy."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(explain(error, path)) from error


def explain(error: OSError, path: Path | None = None) -> str:
    """Such as: FILE: No space left on device; make room on that disk, then start the same command again.

    path: the file, if it is another than the error names.
    """
    file = path or error.filename or (None if error.errno != errno.ENOSPC else "the output, or a file")
    if error.errno not in REMEDIES:
        return str(error) if path is None else f"{path}: {error}"
    remedy = f"{error.strerror}; {REMEDIES[error.errno]}, then start the same command again"
    return remedy if file is None else f"{file}: {remedy}"
