"""Whether the files in a folder are those of a run, and the log, which is written into a run's folder only."""

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from tenet.config.rules import truncate
from tenet.config.run_config import load_config
from tenet.errors import ConfigError, UserError
from tenet.files.names import CONFIG_FILE, EVALUATION_FOLDER, LOCK_FILE
from tenet.run.lock import LOCK_TEXT, holds_our_lock

RUN_SUFFIXES = (".log", ".yaml", ".jsonl", ".json", ".pt", ".safetensors")


def check_is_free(folder: Path) -> None:
    """Raise ConfigError if a run may not use the folder.

    It may use an empty folder, the folder of a run, and a folder that holds only what a run writes before its
    configuration.
    """
    if (folder / CONFIG_FILE).exists():
        load_config(folder)
        return
    if not folder.is_dir():
        return
    entries = list(folder.iterdir())
    if [path.name for path in entries] == [LOCK_FILE] and _is_empty_file(entries[0]):
        return  # the lock of a process that is about to write into it
    is_ours = holds_our_lock(folder)
    others = sorted(path.name for path in entries if not (is_ours and _is_early(path)))
    if others:
        raise ConfigError(
            f"{folder} holds files that no run wrote ({truncate(', '.join(others))}), but no {CONFIG_FILE}; "
            "choose a new or an empty folder (hydra.run.dir)"
        )


def check_kind(path: Path) -> None:
    """Raise OSError for a folder where a run keeps a file, and for a file where it keeps a folder."""
    is_ours = path.name == EVALUATION_FOLDER or path.suffix in RUN_SUFFIXES
    if is_ours and path.is_dir() != (path.name == EVALUATION_FOLDER):
        kinds = ("folder", "file") if path.is_dir() else ("file", "folder")
        raise OSError("{} is a {}, where a run keeps a {}; move it away".format(path, *kinds))


def _is_early(path: Path) -> bool:
    """Whether a run may have written the file before its configuration."""
    is_leftover = path.name.startswith(".") and path.suffix == ".tmp"
    return not path.is_symlink() and (path.name == LOCK_FILE or path.suffix == ".log" or is_leftover)


def _is_empty_file(path: Path) -> bool:
    return not path.is_symlink() and path.is_file() and path.stat().st_size == 0


class RunLog(logging.FileHandler):
    """The log in a run folder. In a folder that a run may not use, lines are dropped."""

    def __init__(self, filename: str, **options: Any) -> None:
        super().__init__(filename, **options)
        self.folder = Path(self.baseFilename).parent
        try:
            check_is_free(self.folder)
            self.is_ours = True
        except (UserError, OSError):
            self.is_ours = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self.is_ours:
            return
        if self.stream is None:
            # The lock file shows a later run that the log is a run's, even if this run is refused.
            with suppress(OSError), (self.folder / LOCK_FILE).open("x") as lock:
                lock.write(LOCK_TEXT)
        super().emit(record)
