"""Several processes that train one model, as torchrun starts them: each takes a share of every batch.

Torch is imported inside the functions that need it, so that a command without training does not wait for it.
"""

from tenet.distributed.environment import (
    is_main_process,
    is_started_by_torchrun,
    started_processes,
    tells_errors,
)
from tenet.distributed.group import SINGLE_PROCESS, ProcessGroup
from tenet.distributed.join import AlreadyToldError, PeerError, join

__all__ = [
    "SINGLE_PROCESS",
    "AlreadyToldError",
    "PeerError",
    "ProcessGroup",
    "is_main_process",
    "is_started_by_torchrun",
    "join",
    "started_processes",
    "tells_errors",
]
