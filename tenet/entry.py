"""What the entry points share: check the command line, run, and tell failures in one line."""

import atexit
import gc
import io
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tenet import distributed
from tenet.device import keep_freed_memory, share_cores
from tenet.errors import ConfigError, UserError
from tenet.failures import FAILED, INTERRUPTED, PREEMPTED, WRONG_COMMAND, explain_to_user, print_error
from tenet.run.signals import Preempted


def run_main(task: Callable[[Any], object], *, config_dir: Path, config_name: str) -> int:
    """Call `task` with the configuration that the command line asks for, and return the exit code."""
    open_streams()
    # With hydra, which not every command needs.
    from tenet.config.command_line import call_with_config, check_command_line
    from tenet.config.overrides import null_for_none

    # Hydra would print a traceback cut in a way of its own, and exit; raised whole, errors are told here.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # A log line that a full disk refuses is no traceback on the terminal, which shows the line all the same.
    logging.raiseExceptions = False
    try:
        overrides = check_command_line(sys.argv[1:], config_dir=config_dir, config_name=config_name)
        if distributed.is_started_by_torchrun() and {"-m", "--multirun"} & set(sys.argv):
            raise ConfigError("-m starts many runs and torchrun is for one; give torchrun one of them")
    except UserError as error:
        print_error(error)
        return WRONG_COMMAND
    # Hydra's own parser takes no flag between overrides: `a=1 -m b=2,3`.
    arguments = [word for word in sys.argv[1:] if null_for_none(word) not in overrides] + overrides
    resumed = [override.removeprefix("resume=") for override in overrides if override.startswith("resume=")]
    if resumed and resumed != ["null"]:
        # The log of a resumed run belongs into its own folder.
        arguments.append(f"hydra.run.dir={resumed[-1]}")
    if not distributed.is_main_process():
        # The first process of a team speaks and writes for all of them.
        arguments += ["hydra.run.dir=.", "hydra/job_logging=disabled"]
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
    from tenet.launching import register

    register()
    return run_and_report_errors(
        lambda: call_with_config(task, arguments, config_dir=config_dir, config_name=config_name)
    )


def open_streams() -> None:
    """A stream that the command was started without goes nowhere, and none fails for a character that its
    encoding lacks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run_and_report_errors(work: Callable[[], object]) -> int:
    """Do the work of a command and return its exit code. What the user can mend is told in one line, anything
    else is a defect and keeps its traceback."""
    open_streams()
    keep_freed_memory()
    share_cores()
    # Python looks through all objects once more at its end: half a second, for memory that the system takes anyway.
    atexit.register(gc.freeze)
    try:
        work()
    except Exception as error:
        line = explain_to_user(error)
        if line is None:
            raise
        print_error(line)
        return FAILED
    except Preempted as signal:
        print(f"stopped by {signal}: start the same command again to go on", file=sys.stderr)
        return PREEMPTED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0
