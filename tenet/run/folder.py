"""The run folder: exclusive access, and how to handle the files of an earlier command."""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from tenet.config.identity import is_of_experiment
from tenet.config.overrides import as_argument
from tenet.config.rules import flatten, truncate
from tenet.config.run_config import load_config, read_config, run_id
from tenet.errors import ConfigError, StorageError
from tenet.files.atomic import hold, remove_leftovers
from tenet.files.json import number, read_json
from tenet.files.names import CONFIG_FILE, LOCK_FILE, SUMMARY_FILE, WEIGHTS_FILE
from tenet.files.paths import shown
from tenet.files.plain import check_plain
from tenet.run.contents import check_is_free, check_kind
from tenet.run.lock import claim, other_owner, release
from tenet.run.origin import check_data, check_finished, read_origin
from tenet.run.resume import how_to_continue

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
                check_kind(path)
            check_is_free(self.path)
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
        """Raise StorageError if the folder is no longer in its place, or if another machine works in it.

        A new folder in its place may be another process's.
        """
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
            what_next = f"{how_to_continue(self.path)}; {what_next}"
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
        """Whether the same command, with `rerun`, has begun the unfinished run in the folder, so that it continues.

        False if its data set has changed since.
        """
        try:
            stored = read_config(self.path)
        except ConfigError:
            load_config(self.path)  # raises if the folder is not a run's and must be left alone
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
            now_us += 1  # a coarse clock may give the same time twice
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
