"""One GPU for each of several jobs, held by file locks, which the system releases when their process ends.

The lock files are in one folder per user, so that two multiruns of a user never share a GPU. This module does
not import torch: a job chooses its GPU before CUDA is initialised.
"""

import fcntl
import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import product, takewhile
from pathlib import Path
from typing import IO

from tenet.files.atomic import take_lock

POLL_S = 0.5
QUERY_TIMEOUT_S = 60  # a driver that is not loaded yet takes seconds to answer

logger = logging.getLogger("tenet")


def find_gpus() -> dict[str, str]:
    """Return the GPUs that this process may use: name for CUDA_VISIBLE_DEVICES -> UUID.

    These are the GPUs in CUDA_VISIBLE_DEVICES if it is set, else all that nvidia-smi lists. A name that
    nvidia-smi does not list stands for its own UUID.
    """
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_TIMEOUT_S, check=True)
        uuids = done.stdout.split()
    except (OSError, subprocess.SubprocessError):
        uuids = []  # no driver, or a broken one
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return {uuid: uuid for uuid in uuids}
    by_index = {str(index): uuid for index, uuid in enumerate(uuids)}
    # CUDA accepts the first characters of a UUID, and ignores everything after the first invalid name.
    names = takewhile(lambda name: name not in ("", "-1"), map(str.strip, visible.split(",")))
    return {
        name: by_index.get(name) or next((uuid for uuid in uuids if uuid.startswith(name)), name)
        for name in names
    }


@contextmanager
def hold_gpu(gpus: Mapping[str, str], *, jobs_per_gpu: int, folder: Path | None = None) -> Iterator[str]:
    """Hold one of `gpus`, as `find_gpus` returns them; the value is for CUDA_VISIBLE_DEVICES.

    Waits while each of them has `jobs_per_gpu` jobs. Multiruns may differ in `jobs_per_gpu`; each respects its
    own number. folder: of the lock files, by default one of this user in the temporary folder.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"tenet-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # GPUs without jobs first, then those with the fewest.
    slots = {
        folder / f"{uuid.replace('/', '-')}.{slot}.lock": name
        for slot, (name, uuid) in product(range(jobs_per_gpu), gpus.items())
    }
    held = _lock_first(slots)
    if held is None:
        logger.info("waiting for a GPU: other jobs hold all of them (%s)", ", ".join(gpus))
    while held is None:
        time.sleep(POLL_S)
        held = _lock_first(slots)
    try:
        yield slots[Path(held.name)]
    finally:
        # Closing the file would not release the lock if a forked process still has it open.
        with suppress(OSError):  # a file system without locks
            fcntl.flock(held, fcntl.LOCK_UN)
        held.close()


def _lock_first(paths: Mapping[Path, str]) -> IO[str] | None:
    """Lock and return the first file that no other process has locked; None if there is none."""
    for path in paths:
        file = path.open("w")
        if take_lock(file):
            return file
        file.close()
    return None
