"""Shared code of the entry points: check the command line, run the task and report failures in one line."""

import atexit
import gc
import logging
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tenet import distributed
from tenet.device import keep_freed_memory, name_user, share_cores
from tenet.errors import ConfigError, UserError, printable
from tenet.failures import (
    FAILED,
    INTERRUPTED,
    PREEMPTED,
    WRONG_COMMAND,
    explain_to_user,
    print_error,
    record_outcome,
)
from tenet.files.json import number
from tenet.files.paths import user_path
from tenet.printing import open_streams
from tenet.run.environment import COMMAND
from tenet.run.signals import Preempted


def run_main(task: Callable[[Any], object], *, config_dir: Path, config_name: str) -> int:
    """Call `task` with the configuration that the command line specifies, and return the exit code."""
    open_streams()
    name_user()
    os.environ[COMMAND] = shlex.join(sys.argv)  # for the processes that this one starts, too
    # Torch's C++ code warns of what is meant to be (see ProcessGroup.wrap), and prints a traceback for each lost connection.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # Imported here because they import hydra, which not every command needs.
    from tenet.config.command_line import call_with_config, check_command_line
    from tenet.config.overrides import OF_RESUMED, as_override, null_for_none, parse

    # Let Hydra raise errors instead of printing a shortened traceback and exiting; they are reported below.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Without this, logging prints a traceback when a full disk refuses a log line. The terminal still shows the line.
    logging.raiseExceptions = False
    try:
        overrides = check_command_line(sys.argv[1:], config_dir=config_dir, config_name=config_name)
        if distributed.is_started_by_torchrun() and {"-m", "--multirun"} & {*sys.argv, *overrides}:
            raise ConfigError("-m starts many runs, but torchrun is for one run; drop either of them")
    except UserError as error:
        if distributed.tells_errors():
            print_error(error)
        return WRONG_COMMAND
    # Put flags before overrides: Hydra's own parser rejects flags between them, as in `a=1 -m b=2,3`.
    arguments = [word for word in sys.argv[1:] if null_for_none(word) not in overrides] + overrides
    resumed = [override for override in overrides if override.startswith("resume=")]
    if resumed and resumed != ["resume=null"]:
        arguments = [f"++{word}" if word.startswith(f"{OF_RESUMED}=") else word for word in arguments]
        # Write the log of a resumed run to its existing folder.
        folder = str(parse(resumed[-1:])[0].value())
        if any(override.startswith("hydra.run.dir=") for override in overrides):
            if distributed.tells_errors():
                print_error("hydra.run.dir: a resumed run keeps its folder; leave it out")
            return WRONG_COMMAND
        is_in_home = folder.startswith("~")
        arguments.append(
            as_override("hydra.run.dir", user_path(folder, key="resume"))
            if is_in_home
            else f"hydra.run.dir={resumed[-1].removeprefix('resume=')}"
        )
    if any("hydra.job.chdir" in override for override in overrides):
        # Relative paths on the command line belong to the folder that the command was started in.
        arguments.append("hydra.job.chdir=false")
    if not distributed.is_main_process():
        # Only the main process prints and writes files.
        arguments += ["hydra.run.dir=.", "hydra/job_logging=disabled"]
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
    from tenet.launching import register

    register()
    return run_and_report_errors(
        lambda: call_with_config(task, arguments, config_dir=config_dir, config_name=config_name)
    )


def run_and_report_errors(work: Callable[[], object]) -> int:
    """Run the work of a command and return its exit code.

    Errors that the user can fix are reported in one line. All others are defects and are raised with their traceback.
    """
    open_streams()
    name_user()
    keep_freed_memory()
    share_cores()
    # Skip Python's last garbage collection at exit: it takes half a second, and the system frees the memory anyway.
    atexit.register(gc.freeze)
    try:
        result = work()
        sys.stdout.flush()
        if distributed.is_main_process():
            record_outcome(result=number(result))
    except distributed.AlreadyToldError:
        return FAILED
    except Exception as error:
        line = explain_to_user(error)
        if line is None:
            record_outcome(error=printable(f"{type(error).__name__}: {error}".splitlines()[0]))
            raise
        print_error(line)
        return FAILED
    except Preempted as signal:
        print(f"stopped by {signal}: start the same command again to continue", file=sys.stderr)
        return PREEMPTED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0
