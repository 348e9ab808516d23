"""The folder of a run: who writes to it, and what an earlier command left in it."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tenet.config.rules import flatten, truncate
from tenet.config.run_config import NOT_THE_EXPERIMENT, as_argument, read_config, run_id
from tenet.errors import ConfigError
from tenet.files.atomic import hold
from tenet.files.json import number, read_json
from tenet.files.names import CONFIG_FILE, LOCK_FILE, SUMMARY_FILE, WEIGHTS_FILE
from tenet.files.plain import check_plain
from tenet.run.summary import selection_error

logger = logging.getLogger("tenet")


class RunFolder:
    """A run folder, held by one process at a time; a context manager.

    The lock is the kernel's: it ends with its holder, however that ends. Raises ConfigError if another
    process holds it.
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
                # A log that is a pipe would be waited for.
                check_plain(path, or_folder=True)
        except OSError:
            self._lock.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._lock is not None
        # A folder that holds nothing but its lock was refused before anything was done.
        if [path.name for path in self.path.iterdir()] == [LOCK_FILE]:
            (self.path / LOCK_FILE).unlink()
        self._lock.close()

    def take(self, config: Mapping[str, Any]) -> float | None:
        """Make the folder ready for a run of `config`: its result if it has finished already, else None.

        A run of the same configuration that was interrupted is left to be gone on with. With `rerun`, what is
        there moves into a folder beside. Raises ConfigError if the folder holds another run.
        """
        if not (self.path / CONFIG_FILE).exists():
            return None
        if config["rerun"]:
            self._set_aside()
            return None
        there = read_config(self.path)
        if run_id(there) != run_id(config):
            raise ConfigError(
                f"{self.path} holds a run of another configuration or version{_difference(there, config)}; go on "
                f"with it ({as_argument('resume', self.path)}), choose another folder, or start anew with rerun=true"
            )
        summary = {
            name: figure
            for name, value in read_json(self.path / SUMMARY_FILE).items()
            if (figure := number(value)) is not None
        }
        if (self.path / WEIGHTS_FILE).exists() and "test/error_pct" in summary:
            logger.info(
                "%s has finished already: test error %.2f %%; rerun=true starts anew",
                self.path, summary["test/error_pct"],
            )  # fmt: skip
            return selection_error(summary)
        logger.info("going on with %s", self.path)
        return None

    def _set_aside(self) -> None:
        now = time.time_ns()
        date = time.strftime("%Y%m%d-%H%M%S", time.localtime(now // 10**9))
        aside = self.path.with_name(f"{self.path.name}-before-{date}-{now // 1000 % 10**6:06d}")
        aside.mkdir()
        # The configuration last: while it is here, what a crash left behind is still set aside by a repeat.
        for path in sorted(self.path.iterdir(), key=lambda path: path.name == CONFIG_FILE):
            if path.name != LOCK_FILE:
                path.rename(aside / path.name)
        logger.info("starting anew; the run that was here is kept in %s", aside)


def _difference(there: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Such as ` (trainer.epochs is 300 there, not 200)`: the first key that differs."""
    first, second = (dict(flatten(_experiment(config))) for config in (there, asked))
    for key in first.keys() | second.keys():
        if first.get(key) != second.get(key):
            return f" ({key} is {truncate(first.get(key))} there, not {truncate(second.get(key))})"
    return ""


def _experiment(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in NOT_THE_EXPERIMENT}
