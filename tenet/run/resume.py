"""How a run is continued: the command that does it, and what it removes first."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tenet.config.overrides import as_argument
from tenet.distributed import is_main_process, started_processes
from tenet.errors import ConfigError, StorageError, UserError
from tenet.files.names import AVERAGED_WEIGHTS_FILE, CONFIG_FILE, SUMMARY_FILE, WEIGHTS_FILE
from tenet.files.paths import shown
from tenet.run.signals import Preempted

logger = logging.getLogger("tenet")


@contextmanager
def explain_how_to_resume(run_dir: Path) -> Iterator[None]:
    """If a signal stops the run, log the command that continues it. If the run is refused, remove its empty folder."""
    try:
        yield
    except (KeyboardInterrupt, Preempted) as signal:
        why = "interrupted" if isinstance(signal, KeyboardInterrupt) else f"stopped by {signal}"
        has_started = (run_dir / CONFIG_FILE).exists()
        logger.info("%s; continue: %s", why, resume_command(run_dir) if has_started else "the same command")
        raise
    except StorageError:
        raise  # the folder may be another process's by now
    except UserError:
        if is_main_process():
            with suppress(OSError):
                run_dir.rmdir()
        raise


def how_to_continue(run_dir: Path) -> str:
    """How to continue a run that has finished at its `trainer.max_steps`, for a message."""
    return f"to continue beyond trainer.max_steps: {resume_command(run_dir)} trainer.max_steps=null"


def resume_command(run_dir: Path) -> str:
    program = "python" if started_processes() == 1 else "torchrun ..."
    return f"{program} train.py {as_argument('resume', shown(run_dir))}"


def prepare_to_resume(run_dir: Path, *, step: int, last_step: int) -> None:
    """Remove the summary and the weights of a finished run that continues from the checkpoint of `step`.

    They mark the run as finished; the checkpoint holds the same weights. Raises ConfigError if `step` is already
    beyond `last_step`.
    """
    if step > last_step:
        raise ConfigError(
            f"{run_dir} is at step {step} already, beyond step {last_step}, where it would end; raise "
            "trainer.epochs or trainer.max_steps"
        )
    if step < last_step:
        for name in (SUMMARY_FILE, WEIGHTS_FILE, AVERAGED_WEIGHTS_FILE):
            (run_dir / name).unlink(missing_ok=True)
