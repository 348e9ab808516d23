"""What the lock file of a run folder says: that the folder is a run's, and which process works in it.

The kernel's lock keeps processes apart. Some network file systems hold such locks on each machine by itself, so that two
machines may enter one folder: the file then names the later one, and the earlier one stops before it writes again.
"""

import os
import socket
from pathlib import Path
from typing import IO
from uuid import uuid4

from tenet.files.names import LOCK_FILE

# By this line a folder is known as a run's before it holds a configuration.
LOCK_TEXT = "the lock of a TENET run folder\n"
MAX_BYTES = 1000


def holds_our_lock(folder: Path) -> bool:
    """Whether a run of this project has locked the folder before: it was then empty, or a run's."""
    return _read(folder / LOCK_FILE).startswith(LOCK_TEXT)


def claim(lock: IO[str], folder: Path) -> str:
    """Write into the lock file, open for appending, that this process works in the folder; return what identifies it."""
    owner = f"{socket.gethostname()} process {os.getpid()} {uuid4().hex}\n"
    if holds_our_lock(folder):
        lock.truncate(len(LOCK_TEXT))
        lock.write(owner)
    else:
        lock.write(LOCK_TEXT + owner)
    lock.flush()
    return owner


def release(lock: IO[str], folder: Path, owner: str) -> None:
    """Take the name of this process out of the lock file again."""
    if owner and _read(folder / LOCK_FILE) == LOCK_TEXT + owner:
        lock.truncate(len(LOCK_TEXT))


def other_owner(folder: Path, owner: str) -> str | None:
    """The machine and process that has claimed the folder since `owner` did; None if it still is the owner's."""
    found = _read(folder / LOCK_FILE).removeprefix(LOCK_TEXT)
    return None if found in (owner, "") else " ".join(found.split()[:3])


def _read(path: Path) -> str:
    """The beginning of the file; empty if it can't be read or is a link."""
    try:
        if path.is_symlink() or not path.is_file():
            return ""
        with path.open(errors="replace") as file:
            return file.read(MAX_BYTES)
    except OSError:
        return ""
