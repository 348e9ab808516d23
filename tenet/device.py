"""The machine that a process computes on: its device, its threads and its memory.

Torch is imported inside the functions that need it: threads and memory are set before torch is loaded.
"""

import ctypes
import os
from typing import TYPE_CHECKING

from tenet.errors import ConfigError

if TYPE_CHECKING:
    import torch


# Parameters of glibc's mallopt, and its largest allocation that is not asked from the system anew each time.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 2**30


def keep_freed_memory() -> None:
    """Let this process keep the memory of freed tensors for the next ones.

    By default glibc gives large ones back at once, and the system zeroes their pages at every step again: a
    quarter of an evaluation on a CPU. Does nothing where the environment sets one of MALLOC_TRIM_THRESHOLD_ and
    MALLOC_MMAP_THRESHOLD_, and with other C libraries.
    """
    if {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys():
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


# Looks at the condition that is waited for before the thread goes to sleep: some microseconds. It is what GNU's
# OpenMP itself takes where threads are more than cores.
SPINS = "1000"


def share_cores() -> None:
    """Let torch's threads wait for each other for a moment awake, and then asleep. Call it before torch loads.

    By default they spin on for milliseconds, and so take the cores from whatever else runs; if they slept at
    once, each of the many short operations of a small network would wait for its threads to wake up
    (docs/performance.md). Does nothing where the environment sets OMP_WAIT_POLICY or GOMP_SPINCOUNT.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ["GOMP_SPINCOUNT"] = SPINS


def pick_device(name: str, *, key: str = "device") -> "torch.device":
    """auto: CUDA where there is one, else the CPU. Raises ConfigError where CUDA is asked for and missing."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"{key}=cuda: torch sees no CUDA device; use auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def set_determinism(is_deterministic: bool) -> None:
    """Whether operations on CUDA must give the same bits every time. In force until it is set otherwise."""
    import torch

    if is_deterministic:
        # Read by cuBLAS when CUDA starts; either of two values is accepted, and one may be set already.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    if is_deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(is_deterministic)  # imports the compiler: seconds
