"""Exit codes, and one-line error messages for the user."""

import os
import re
import sys
from pathlib import Path
from typing import Any

from tenet.errors import UserError, printable
from tenet.files.atomic import describe_os_error
from tenet.files.json import write_json

# Exit codes: the run failed; the command is invalid; the run was stopped and the same command continues it (EX_TEMPFAIL
# of sysexits.h); the keyboard interrupted the run (the shells' code for SIGINT).
FAILED, WRONG_COMMAND, PREEMPTED, INTERRUPTED = 1, 2, 75, 130
# An environment variable: the file in which a command records its outcome for the launcher that submitted it.
OUTCOME_FILE = "TENET_OUTCOME_FILE"


def explain_to_user(error: BaseException) -> str | None:
    """Return one line about an error that the user can fix; None if the error is a defect."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):
        return describe_os_error(error)
    if worker := dead_worker(error):
        return (
            f"a process that reads images ended: {worker}. If memory is short, lower dataset.workers; if shared memory "
            "is, give the container more (docker run --shm-size); the same command continues from the last checkpoint"
        )
    if is_out_of_memory(error):
        return (
            f"out of memory ({error}); lower trainer.batch_size or batch_size, or choose a smaller backbone"
        )
    return None


def print_error(error: object) -> None:
    """Print an error as one line on stderr. Non-printable characters, such as those in file names, are replaced."""
    print(f"error: {printable(str(error))}", file=sys.stderr)
    record_outcome(error=printable(str(error)))


def record_outcome(**outcome: Any) -> None:
    """Write the command's `result` or `error` where its launcher looks for it, if a launcher started it."""
    if path := os.environ.get(OUTCOME_FILE):
        write_json(Path(path), outcome)


def dead_worker(error: BaseException) -> str | None:
    """How a worker process of torch's DataLoader ended, if the error is about that; None for all others.

    torch raises it as soon as the worker ends, between any two lines of the main thread.
    """
    found = re.search(
        r"DataLoader worker \(pid\S* [\d, ]+\) (is killed by signal: [\w ]+|exited \w+)", str(error)
    )
    return found[1] if isinstance(error, RuntimeError) and found else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error means that memory ran out, on the GPU or on the CPU."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))  # torch on a CPU
    )
