"""How the C library hands out memory."""

import ctypes
import os

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
