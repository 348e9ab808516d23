"""How a command fails: exit codes, and the one line that a user reads."""

import sys

from tenet.errors import UserError, printable
from tenet.files.atomic import explain

# Exit codes: a failed run, a command that can't be run, a run that continues when the same command is started again
# (EX_TEMPFAIL of sysexits.h), and an interrupt from the keyboard, as shells report it.
FAILED, WRONG_COMMAND, PREEMPTED, INTERRUPTED = 1, 2, 75, 130


def explain_to_user(error: BaseException) -> str | None:
    """What the user can mend, in one line; None for a defect."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):
        return explain(error)
    if is_out_of_memory(error):
        return (
            f"out of memory ({error}); lower trainer.batch_size or batch_size, or choose a smaller backbone"
        )
    return None


def print_error(error: object) -> None:
    """One line on the error stream, whatever names and texts of files the error repeats."""
    print(f"error: {printable(str(error))}", file=sys.stderr)


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA's error has a class of its own, torch's on the CPU has not."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )
