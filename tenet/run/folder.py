"""The run folder: exclusive access, and how to handle the files of an earlier command."""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tenet.config.identity import is_of_experiment
from tenet.config.overrides import as_argument
from tenet.config.rules import flatten, truncate
from tenet.config.run_config import load_config, read_config, run_id
from tenet.distributed import is_main_process, started_processes
from tenet.errors import ConfigError, StorageError, UserError
from tenet.files.atomic import hold, remove_leftovers
from tenet.files.json import number, read_json
from tenet.files.names import (
    AVERAGED_WEIGHTS_FILE,
    CONFIG_FILE,
    EVALUATION_FOLDER,
    LOCK_FILE,
    SUMMARY_FILE,
    WEIGHTS_FILE,
)  # fmt: skip
from tenet.files.paths import shown
from tenet.files.plain import check_plain
from tenet.run.lock import LOCK_TEXT, claim, holds_our_lock, other_owner, release
from tenet.run.origin import check_data, check_finished, read_origin
from tenet.run.signals import Preempted

logger = logging.getLogger("tenet")


class RunFolder:
    """Context manager that locks a run folder for one process at a time.

    The kernel releases the lock when the process ends, even if it is killed. Raises ConfigError if another process
    holds the lock, and, before anything is changed, if the folder holds files that no run of this project wrote.
    A folder that can't be written to is entered too, so that `take` finds the result of a finished run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None
        self._folder: int | None = None
        self._read_only: OSError | None = None
        self._owner = ""

    def __enter__(self) -> "RunFolder":
        self.path.mkdir(parents=True, exist_ok=True)
        # The folder is locked as well as its file, which a user may delete.
        self._folder = os.open(self.path, os.O_RDONLY)
        try:
            is_free = _lock_folder(self._folder)
            for path in self.path.iterdir():
                check_plain(path, or_folder=True)  # opening a pipe would block
                _check_kind(path)
            self.check_is_free()
            if not is_free or not self._lock_file():
                raise ConfigError(f"another process is working in {self.path}; wait for it, or end it")
            if self._lock is not None:
                self._owner = claim(self._lock, self.path)
                remove_leftovers(self.path)
        except (OSError, ConfigError):
            self._close()
            raise
        return self

    def _lock_file(self) -> bool:
        """False: another process holds the lock file."""
        try:
            self._lock = hold(self.path / LOCK_FILE)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES):
                raise
            self._read_only = error
            for handler in list(logging.getLogger().handlers):
                if isinstance(handler, logging.FileHandler):  # the log of this run can't be written either
                    logging.getLogger().removeHandler(handler)
            return True
        return self._lock is not None

    def check_is_free(self) -> None:
        """Raise ConfigError unless the folder is empty or a run's: one with the configuration of a run, or with no more
        than a run writes before its configuration."""
        if (self.path / CONFIG_FILE).exists():
            load_config(self.path)
            return
        if not self.path.is_dir():
            return
        entries = list(self.path.iterdir())
        if [path.name for path in entries] == [LOCK_FILE] and is_empty_file(entries[0]):
            return  # of a process that is about to write into it
        is_ours = holds_our_lock(self.path)
        others = sorted(path.name for path in entries if not (is_ours and is_early(path)))
        if others:
            raise ConfigError(
                f"{self.path} holds files that are no run's ({truncate(', '.join(others))}) and no {CONFIG_FILE}; "
                "choose a new or an empty folder (hydra.run.dir)"
            )

    def __exit__(self, *error: object) -> None:
        # If only the lock is left, the run was refused before it wrote anything.
        with suppress(FileNotFoundError):  # a user has removed the folder
            if [path.name for path in self.path.iterdir()] == [LOCK_FILE]:
                (self.path / LOCK_FILE).unlink()
        self._close()

    def _close(self) -> None:
        if self._lock is not None:
            with suppress(OSError):  # a full disk
                release(self._lock, self.path, self._owner)
            self._lock.close()
        if self._folder is not None:
            os.close(self._folder)
        self._lock = self._folder = None

    def check(self) -> None:
        """Raise StorageError unless the folder is still in its place, where a new one may be another process's, and no
        other machine works in it."""
        assert self._folder is not None
        is_in_place = False
        with suppress(OSError):
            is_in_place = os.path.samestat(os.fstat(self._folder), self.path.stat())
        if not is_in_place:
            raise StorageError(
                f"{self.path} was moved or removed while this run was working in it; move it back, then start the same "
                "command again"
            )
        if other := other_owner(self.path, self._owner):
            raise StorageError(
                f"{other} has taken over {self.path}, so this process stops; end one of them before you start again"
            )

    def take(self, config: Mapping[str, Any]) -> float | None:
        """Prepare the folder for a run of `config`. Returns the run's result if it has already finished, else None.

        An interrupted run with the same configuration is left as it is and will be continued. With `rerun`, the files of
        any other run are moved to another folder. Raises ConfigError if the folder holds another run, or if the run has
        finished and its data set has changed since; OSError if the folder can't be written to and the run has not finished.
        """
        if self._read_only is not None and (config["rerun"] or not (self.path / CONFIG_FILE).exists()):
            raise self._read_only
        if not (self.path / CONFIG_FILE).exists():
            return None
        if config["rerun"] and not self._is_begun_rerun(config):
            self._set_aside()
            return None
        stored = read_config(self.path)
        if run_id(stored) != run_id(config):
            raise ConfigError(
                f"{self.path} holds a run of another configuration or version{_difference(stored, config)}; "
                f"continue it ({as_argument('resume', self.path)}), choose another folder, or start again with rerun=true"
            )
        summary = self._final_figures()
        if not summary:
            if self._read_only is not None:
                raise self._read_only
            logger.info("continuing %s", shown(self.path))
            return None
        check_finished(self.path, config)
        what_next = "rerun=true starts again"
        if config["trainer"].get("max_steps") is not None:
            what_next = f"{how_to_go_on(self.path)}; {what_next}"
        error_pct = summary["test/error_pct"]
        logger.info("%s has finished already: test error %.2f %%; %s", shown(self.path), error_pct, what_next)
        return selection_error(summary)

    def _final_figures(self) -> dict[str, float]:
        """The figures of a finished run; empty if the run has not finished."""
        found = read_json(self.path / SUMMARY_FILE).items()
        summary = {name: figure for name, value in found if (figure := number(value)) is not None}
        is_finished = (self.path / WEIGHTS_FILE).exists() and "test/error_pct" in summary
        return summary if is_finished else {}

    def _is_begun_rerun(self, config: Mapping[str, Any]) -> bool:
        """Whether the folder holds the unfinished run that the same command, with `rerun`, has begun: it continues.

        If its data set has changed, it can't continue.
        """
        try:
            stored = read_config(self.path)
        except ConfigError:
            load_config(self.path)  # not a run's: to be left alone
            return False  # a run of another version
        if not stored["rerun"] or run_id(stored) != run_id(config) or self._final_figures():
            return False
        try:
            check_data(read_origin(self.path), config, what="")
        except ConfigError:
            return False
        return True

    def _set_aside(self) -> None:
        path = Path(os.path.abspath(self.path))  # noqa: PTH100 (of `.`, whose own name is empty)
        now_us = time.time_ns() // 1000
        while True:
            date = time.strftime("%Y%m%d-%H%M%S", time.localtime(now_us // 10**6))
            aside = path.with_name(f"{path.name}-before-{date}-{now_us % 10**6:06d}")
            with suppress(FileExistsError):
                aside.mkdir()
                break
            now_us += 1  # the clock may be coarse
        # The configuration is moved last, after what marks the run as finished: if a crash interrupts this loop, the next
        # call finds the configuration and moves the remaining files.
        last = (SUMMARY_FILE, WEIGHTS_FILE, CONFIG_FILE)
        for path in sorted(
            self.path.iterdir(), key=lambda path: path.name in last and last.index(path.name) + 1
        ):
            if path.name != LOCK_FILE:
                path.rename(aside / path.name)
        logger.info("starting again; the earlier run is kept in %s", shown(aside))


def _lock_folder(descriptor: int) -> bool:
    """Lock a folder that is open, until it is closed. False: another process holds the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # network file systems lock files only
    return True


def _check_kind(path: Path) -> None:
    """Raise OSError for a folder where a run keeps a file, and for a file where it keeps a folder."""
    is_ours = path.name == EVALUATION_FOLDER or path.suffix in (
        ".log",
        ".yaml",
        ".jsonl",
        ".json",
        ".pt",
        ".safetensors",
    )
    if is_ours and path.is_dir() != (path.name == EVALUATION_FOLDER):
        kinds = ("folder", "file") if path.is_dir() else ("file", "folder")
        raise OSError("{} is a {}, where a run keeps a {}; move it away".format(path, *kinds))


def is_early(path: Path) -> bool:
    """Whether a run may have written the file before its configuration."""
    is_leftover = path.name.startswith(".") and path.suffix == ".tmp"
    return not path.is_symlink() and (path.name == LOCK_FILE or path.suffix == ".log" or is_leftover)


def is_empty_file(path: Path) -> bool:
    return not path.is_symlink() and path.is_file() and path.stat().st_size == 0


class RunLog(logging.FileHandler):
    """The log in a run folder. In a folder that holds the files of others when the log is set up, lines are dropped."""

    def __init__(self, filename: str, **options: Any) -> None:
        super().__init__(filename, **options)
        self.folder = Path(self.baseFilename).parent
        try:
            RunFolder(self.folder).check_is_free()
            self.is_ours = True
        except (UserError, OSError):
            self.is_ours = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self.is_ours:
            return
        if self.stream is None:
            # The lock shows to a later run that the log is a run's, even if this one is refused.
            with suppress(OSError), (self.folder / LOCK_FILE).open("x") as lock:
                lock.write(LOCK_TEXT)
        super().emit(record)


@contextmanager
def explain_how_to_resume(run_dir: Path) -> Iterator[None]:
    """Log the command that continues the run if a signal stops it. If the run is refused, remove its empty folder."""
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


def how_to_go_on(run_dir: Path) -> str:
    """For the message about a run that has finished at its `trainer.max_steps`."""
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


def _difference(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> str:
    """Describe the first key that differs, as in ` (trainer.epochs is 300 there, not 200)`."""
    first, second = dict(flatten(stored)), dict(flatten(requested))
    for key in first.keys() | second.keys():
        is_experiment = is_of_experiment(key)
        if is_experiment and first.get(key) != second.get(key):
            return f" ({key} is {truncate(first.get(key))} there, not {truncate(second.get(key))})"
    return ""


def selection_error(figures: Mapping[str, Any]) -> float:
    """Return the error for model selection, in percent: on the validation set if there is one, else on the test set."""
    return float(figures.get("validation/error_pct", figures["test/error_pct"]))
