"""Settings of the process and its device: memory allocation, threads, device selection and determinism.

Functions import torch only where they need it, because memory and threads must be set before torch is loaded.
"""

import ctypes
import os
import pwd
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tenet.errors import ConfigError

if TYPE_CHECKING:
    import torch


# Parameters of glibc's mallopt. Allocations up to KEPT_BYTES reuse freed memory instead of requesting it from the system.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 2**30


def keep_freed_memory() -> None:
    """Make malloc keep freed memory for later tensors.

    By default glibc returns large blocks to the system at once, and the system must zero their pages again at every
    step. That took a quarter of an evaluation's time on a CPU. Does nothing if the environment sets
    MALLOC_TRIM_THRESHOLD_ or MALLOC_MMAP_THRESHOLD_, or if the C library has no mallopt.
    """
    if {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys():
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


# How often a waiting thread checks its condition before it sleeps; this takes some microseconds. GNU OpenMP uses the
# same value by default if there are more threads than cores.
SPINS = "1000"


def share_cores() -> None:
    """Make waiting OpenMP threads spin only briefly before they sleep. Call it before torch is loaded.

    By default they spin for milliseconds and take the cores from other processes. If they slept at once, each of the
    many short operations of a small network would have to wake them (docs/performance.md). Does nothing if the
    environment sets OMP_WAIT_POLICY or GOMP_SPINCOUNT.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ["GOMP_SPINCOUNT"] = SPINS


def name_user() -> None:
    """Give a user without a passwd entry, as in many containers, a name and a home folder. Call it before torch is loaded.

    torch, matplotlib and wandb ask the system for both. Where HOME names none, the home is a private folder in the
    temporary one, the same for all processes of the user. Does nothing for a user that the system knows.
    """
    user = os.getuid()
    try:
        pwd.getpwuid(user)
    except KeyError:
        if not any(
            map(os.environ.get, ("LOGNAME", "USER", "LNAME", "USERNAME"))
        ):  # as getpass.getuser reads them
            os.environ["LOGNAME"] = f"user-{user}"
        if os.environ.get("HOME", "") in ("", "/"):  # container runtimes set "/" for an unknown user
            home = Path(tempfile.gettempdir(), f"tenet-home-{user}")
            home.mkdir(mode=0o700, exist_ok=True)
            found = home.lstat()
            # Somebody else may have made it first, with settings and packages of theirs.
            is_own = found.st_uid == user and stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
            os.environ["HOME"] = str(home) if is_own else tempfile.mkdtemp(prefix="tenet-home-")


def pick_device(name: str, *, key: str = "device") -> "torch.device":
    """Return the device called `name`; "auto" is CUDA if available, else the CPU.

    key: the configuration key of the name, for the error message. Raises ConfigError if `name` is "cuda" and there is
    no CUDA device.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"{key}=cuda: torch sees no CUDA device; use auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def set_determinism(is_deterministic: bool) -> None:
    """Choose whether CUDA operations must be bitwise reproducible. The setting holds for the whole process."""
    import torch

    if is_deterministic:
        # cuBLAS reads it when CUDA starts. Two values are valid, so keep one that is already set.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    if is_deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(is_deterministic)  # imports the compiler, which takes seconds
