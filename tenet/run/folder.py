"""The run folder: exclusive access, and how to handle the files of an earlier command."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tenet.config.rules import flatten, truncate
from tenet.config.run_config import NOT_THE_EXPERIMENT, as_argument, read_config, run_id
from tenet.distributed import is_main_process
from tenet.errors import ConfigError, UserError
from tenet.files.atomic import hold, remove_leftovers
from tenet.files.json import number, read_json
from tenet.files.names import CONFIG_FILE, LOCK_FILE, SUMMARY_FILE, WEIGHTS_FILE
from tenet.files.plain import check_plain
from tenet.run.signals import Preempted

logger = logging.getLogger("tenet")


class RunFolder:
    """Context manager that locks a run folder for one process at a time.

    The kernel releases the lock when the process ends, even if it is killed. Raises ConfigError if another process
    holds the lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    def __enter__(self) -> "RunFolder":
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = hold(self.path / LOCK_FILE)
        if self._lock is None:
            raise ConfigError(f"another process is working in {self.path}; wait for it, or end it")
        try:
            for path in self.path.iterdir():
                check_plain(path, or_folder=True)  # opening a pipe would block
            remove_leftovers(self.path)
        except OSError:
            self._lock.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        assert self._lock is not None
        # If only the lock is left, the run was refused before it wrote anything.
        if [path.name for path in self.path.iterdir()] == [LOCK_FILE]:
            (self.path / LOCK_FILE).unlink()
        self._lock.close()

    def take(self, config: Mapping[str, Any]) -> float | None:
        """Prepare the folder for a run of `config`. Returns the run's result if it has already finished, else None.

        An interrupted run with the same configuration is left as it is and will be continued. With `rerun`, existing
        files are moved to another folder. Raises ConfigError if the folder holds another run.
        """
        if not (self.path / CONFIG_FILE).exists():
            return None
        if config["rerun"]:
            self._set_aside()
            return None
        stored = read_config(self.path)
        if run_id(stored) != run_id(config):
            raise ConfigError(
                f"{self.path} holds a run of another configuration or version{_difference(stored, config)}; "
                f"continue it ({as_argument('resume', self.path)}), choose another folder, or start again with rerun=true"
            )
        found = read_json(self.path / SUMMARY_FILE).items()
        summary = {name: figure for name, value in found if (figure := number(value)) is not None}
        if (self.path / WEIGHTS_FILE).exists() and "test/error_pct" in summary:
            logger.info(
                "%s has finished already: test error %.2f %%; rerun=true starts again",
                self.path, summary["test/error_pct"],
            )  # fmt: skip
            return selection_error(summary)
        logger.info("continuing %s", self.path)
        return None

    def _set_aside(self) -> None:
        now = time.time_ns()
        date = time.strftime("%Y%m%d-%H%M%S", time.localtime(now // 10**9))
        aside = self.path.with_name(f"{self.path.name}-before-{date}-{now // 1000 % 10**6:06d}")
        aside.mkdir()
        # The configuration is moved last: if a crash interrupts this loop, the next call finds the configuration and
        # moves the remaining files.
        for path in sorted(self.path.iterdir(), key=lambda path: path.name == CONFIG_FILE):
            if path.name != LOCK_FILE:
                path.rename(aside / path.name)
        logger.info("starting again; the earlier run is kept in %s", aside)


@contextmanager
def explain_how_to_resume(run_dir: Path) -> Iterator[None]:
    """Log the command that continues the run if a signal stops it. If the run is refused, remove its empty folder."""
    try:
        yield
    except (KeyboardInterrupt, Preempted) as signal:
        why = "interrupted" if isinstance(signal, KeyboardInterrupt) else f"stopped by {signal}"
        has_started = (run_dir / CONFIG_FILE).exists()
        again = f"python train.py {as_argument('resume', run_dir)}" if has_started else "the same command"
        logger.info("%s; continue: %s", why, again)
        raise
    except UserError:
        if is_main_process():
            with suppress(OSError):
                run_dir.rmdir()
        raise


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
        for name in (SUMMARY_FILE, WEIGHTS_FILE):
            (run_dir / name).unlink(missing_ok=True)


def _difference(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> str:
    """Describe the first key that differs, as in ` (trainer.epochs is 300 there, not 200)`."""
    first, second = dict(flatten(stored)), dict(flatten(requested))
    for key in first.keys() | second.keys():
        is_experiment = key.partition(".")[0] not in NOT_THE_EXPERIMENT
        if is_experiment and first.get(key) != second.get(key):
            return f" ({key} is {truncate(first.get(key))} there, not {truncate(second.get(key))})"
    return ""


def selection_error(figures: Mapping[str, Any]) -> float:
    """Return the error for model selection, in percent: on the validation set if there is one, else on the test set."""
    return float(figures.get("validation/error_pct", figures["test/error_pct"]))
