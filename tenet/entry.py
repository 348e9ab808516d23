"""Shared code of the entry points: check the command line, run the task and report failures in one line."""

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
    """Call `task` with the configuration that the command line specifies, and return the exit code."""
    open_streams()
    # Imported here because they import hydra, which not every command needs.
    from tenet.config.command_line import call_with_config, check_command_line
    from tenet.config.overrides import null_for_none

    # Let Hydra raise errors instead of printing a shortened traceback and exiting; they are reported below.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Without this, logging prints a traceback when a full disk refuses a log line. The terminal still shows the line.
    logging.raiseExceptions = False
    try:
        overrides = check_command_line(sys.argv[1:], config_dir=config_dir, config_name=config_name)
        if distributed.is_started_by_torchrun() and {"-m", "--multirun"} & set(sys.argv):
            raise ConfigError("-m starts many runs, but torchrun is for one run; drop either of them")
    except UserError as error:
        print_error(error)
        return WRONG_COMMAND
    # Put flags before overrides: Hydra's own parser rejects flags between them, as in `a=1 -m b=2,3`.
    arguments = [word for word in sys.argv[1:] if null_for_none(word) not in overrides] + overrides
    resumed = [override.removeprefix("resume=") for override in overrides if override.startswith("resume=")]
    if resumed and resumed != ["null"]:
        # Write the log of a resumed run to its existing folder.
        arguments.append(f"hydra.run.dir={resumed[-1]}")
    if not distributed.is_main_process():
        # Only the main process prints and writes files.
        arguments += ["hydra.run.dir=.", "hydra/job_logging=disabled"]
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
    from tenet.launching import register

    register()
    return run_and_report_errors(
        lambda: call_with_config(task, arguments, config_dir=config_dir, config_name=config_name)
    )


def open_streams() -> None:
    """Make stdout and stderr safe to write to.

    A missing stream is replaced by one that discards its input. Characters outside a stream's encoding are escaped.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run_and_report_errors(work: Callable[[], object]) -> int:
    """Run the work of a command and return its exit code.

    Errors that the user can fix are reported in one line. All others are defects and are raised with their traceback.
    """
    open_streams()
    keep_freed_memory()
    share_cores()
    # Skip Python's last garbage collection at exit: it takes half a second, and the system frees the memory anyway.
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
        but = " (without rerun=true)" if "rerun=true" in sys.argv else ""
        print(f"stopped by {signal}: start the same command again{but} to continue", file=sys.stderr)
        return PREEMPTED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0
