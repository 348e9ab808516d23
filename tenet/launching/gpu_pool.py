"""One GPU for each of several jobs at the same time, by locks that end with their holder.

The locks are files of one folder per user, so that any two multiruns of a user on a machine keep apart.
Nothing here imports torch: a GPU has to be chosen before CUDA is looked at.
"""

import fcntl
import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

POLL_S = 0.5
QUERY_TIMEOUT_S = 60  # a driver that nothing has used yet takes its time

logger = logging.getLogger("tenet")


def find_gpus() -> dict[str, str]:
    """The GPUs that this process may use: what CUDA_VISIBLE_DEVICES calls each, and which one it is.

    Without CUDA_VISIBLE_DEVICES, all that nvidia-smi lists; empty where there are none.
    """
    uuids = _uuids()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return {uuid: uuid for uuid in uuids}
    gpus = {}
    for name in map(str.strip, visible.split(",")):
        if name in ("", "-1"):
            break  # CUDA, too, reads no further
        gpus[name] = _identity(name, uuids)
    return gpus


def _identity(name: str, uuids: list[str]) -> str:
    """The UUID of a GPU that is called by its number or by the start of its UUID, where nvidia-smi knows it:
    one multirun may call it 0, and another by its UUID."""
    if name.isdecimal():
        return uuids[int(name)] if int(name) < len(uuids) else name
    return next((uuid for uuid in uuids if uuid.startswith(name)), name)


def _uuids() -> list[str]:
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []  # no driver, or none that works
    return done.stdout.split()


def _locks_of_this_user() -> Path:
    return Path(tempfile.gettempdir()) / f"tenet-gpus-{os.getuid()}"


@dataclass(frozen=True)
class GpuPool:
    """GPUs as `find_gpus` names them, each for at most `jobs_per_gpu` jobs at a time.

    Where multiruns disagree about `jobs_per_gpu`, each keeps to its own.
    """

    gpus: Mapping[str, str]
    jobs_per_gpu: int = 1
    folder: Path = field(default_factory=_locks_of_this_user)

    @property
    def capacity(self) -> int:
        return len(self.gpus) * self.jobs_per_gpu

    @contextmanager
    def take(self) -> Iterator[str]:
        """Hold a GPU for as long as the context lasts; the value is for CUDA_VISIBLE_DEVICES.

        Waits while all are taken, which is logged once.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with ExitStack() as held:
            name = self._try_all(held)
            if name is None:
                logger.info("waiting for a GPU: other jobs hold all there are (%s)", ", ".join(self.gpus))
            while name is None:
                time.sleep(POLL_S)
                name = self._try_all(held)
            yield name

    def _try_all(self, held: ExitStack) -> str | None:
        """Take a free place, on a GPU that nobody uses before one that is shared. None if there is none."""
        for place in range(self.jobs_per_gpu):
            for name, identity in self.gpus.items():
                lock = (self.folder / f"{identity.replace('/', '-')}.{place}.lock").open("w")
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    lock.close()
                    continue
                held.callback(_let_go, lock)
                return name
        return None


def _let_go(lock: IO[str]) -> None:
    # Closing alone would leave the lock to forked processes, such as a loader's workers, that live on.
    fcntl.flock(lock, fcntl.LOCK_UN)
    lock.close()
