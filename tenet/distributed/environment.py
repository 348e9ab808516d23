"""The environment variables by which torchrun, or a script in its place, tells a process its part."""

import os
import re
from dataclasses import dataclass

from tenet.errors import ConfigError

NUMBERS = ("WORLD_SIZE", "RANK", "LOCAL_RANK")


def is_started_by_torchrun() -> bool:
    """Whether the environment variables of torchrun say that this is one of several processes.

    Raises ConfigError if one of them is not a number.
    """
    if not {"RANK", "LOCAL_RANK", "MASTER_ADDR"} <= os.environ.keys():
        return False
    counts = {name: os.environ.get(name, "1") for name in NUMBERS}
    for name, value in counts.items():
        if re.fullmatch(r"[0-9]{1,9}", value) is None:
            raise ConfigError(
                f"{name}={value} in the environment: must be an integer; unset it, or use torchrun"
            )
    return int(counts["WORLD_SIZE"]) > 1


def started_processes() -> int:
    """How many processes torchrun started for this command; 1 without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if is_started_by_torchrun() else 1


def is_main_process() -> bool:
    """Whether this process is alone, or the one with rank 0."""
    return not is_started_by_torchrun() or os.environ["RANK"] == "0"


def tells_errors() -> bool:
    """Whether this process prints why a command line is refused: one of those that torchrun started on a machine."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("LOCAL_RANK", "0") == "0"


@dataclass(frozen=True)
class Member:
    """This process among those that are to join.

    host, port: of the store through which they find each other. hosts_store: whether this process runs the store; torchrun
    runs one of its own.
    """

    rank: int
    local_rank: int
    size: int
    host: str
    port: int
    hosts_store: bool

    @classmethod
    def from_environment(cls) -> "Member":
        """Raises ConfigError for a variable that is missing or does not fit the others."""
        size, rank, local_rank = (int(os.environ[name]) for name in NUMBERS)
        if rank >= size:
            raise ConfigError(
                f"RANK={rank} in the environment: must be below WORLD_SIZE={size}; unset both, or use torchrun"
            )
        port = os.environ.get("MASTER_PORT", "")
        if re.fullmatch(r"[0-9]{1,5}", port) is None or not 0 < int(port) < 2**16:
            raise ConfigError(
                f"MASTER_PORT={port or 'missing'} in the environment: must be a port from 1 to 65535, as RANK={rank} and "
                f"WORLD_SIZE={size} are set; unset these, or use torchrun"
            )
        by_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        host = os.environ["MASTER_ADDR"]
        return cls(rank, local_rank, size, host, int(port), hosts_store=rank == 0 and not by_torchrun)
