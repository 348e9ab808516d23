"""What the entry points share: check the command line, run, and tell failures in one line."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from tenet import distributed
from tenet.errors import UserError
from tenet.stopping import Preempted

# Exit codes: a failed run; a command that can't be run; interrupted from the keyboard, as shells have it.
FAILED, WRONG_COMMAND, INTERRUPTED = 1, 2, 130
# Stopped by SIGTERM or SIGUSR1 after a checkpoint: the same command goes on (EX_TEMPFAIL of sysexits.h).
PREEMPTED = 75


def run_main(main: Callable[[], object], *, config_dir: Path, config_name: str) -> int:
    """Run a Hydra main function and return the exit code."""
    from tenet.config import check_command_line, null_for_none  # with hydra, which not every command needs

    # Threads that spin while they wait take the cores from whatever else runs: on a busy machine of two
    # cores training took twice as long. Read when torch loads, which nothing has done yet.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Hydra would print a traceback cut in a way of its own, and exit; raised whole, errors are told here.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        overrides = check_command_line(sys.argv[1:], config_dir=config_dir, config_name=config_name)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_COMMAND
    if distributed.is_started_by_torchrun() and {"-m", "--multirun"} & set(sys.argv):
        print(
            "error: -m starts many runs and torchrun is for one; give torchrun one of them", file=sys.stderr
        )
        return WRONG_COMMAND
    # Hydra's own parser takes no flag between overrides: `a=1 -m b=2,3`.
    flags = [word for word in sys.argv[1:] if null_for_none(word) not in overrides]
    sys.argv[1:] = [*flags, *overrides]
    resumed = [override.removeprefix("resume=") for override in overrides if override.startswith("resume=")]
    if resumed and resumed != ["null"]:
        # The log of a resumed run belongs into its own folder.
        sys.argv.append(f"hydra.run.dir={resumed[-1]}")
    if not distributed.is_first():
        # The first process of a team speaks and writes for all of them.
        sys.argv += ["hydra.run.dir=.", "hydra/job_logging=disabled"]
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
    return told_in_one_line(main)


def told_in_one_line(work: Callable[[], object]) -> int:
    """Do the work of a command and return its exit code. What the user can mend is told in one line, anything
    else is a defect and keeps its traceback."""
    try:
        work()
    except (UserError, OSError) as error:
        # A full disk, a folder that can't be written: the error names the file.
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except Preempted as signal:
        print(f"stopped by {signal}: start the same command again to go on", file=sys.stderr)
        return PREEMPTED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0
