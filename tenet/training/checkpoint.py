"""Checkpoints: tensors and plain values only; a file is either complete or absent."""

import copy
import io
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tenet.errors import CheckpointError, printable
from tenet.files.atomic import write_atomically
from tenet.files.names import CHECKPOINT_FILE, PREVIOUS_CHECKPOINT_FILE
from tenet.files.tensors import read_tensors
from tenet.files.weights import CHECKSUM, checksum

logger = logging.getLogger("tenet")

# Keys of a checkpoint: the settings of its run, the fingerprints of its data set, the version of its layout, and the
# number of processes that trained together.
RUN, DATA, LAYOUT, PROCESSES = "run", "data", "layout", "processes"
CURRENT_LAYOUT = 3
MAX_SHOWN = 100  # characters of a value that a message repeats


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content that `Checkpoints.save` wrote. Raises CheckpointError if the file is damaged in any way."""
    content = read_tensors(path)
    if not isinstance(content, dict) or CHECKSUM not in content:
        raise CheckpointError(f"{path} is not a checkpoint of this project")
    if content.pop(CHECKSUM) != checksum(content):
        raise CheckpointError(f"{path} is damaged: its content does not match its checksum")
    return copy.deepcopy(content)  # the tensors are views of the file, which may be replaced


class SavedState(NamedTuple):
    path: Path
    content: dict[str, Any]


class Checkpoints:
    """The last two checkpoints of a run folder.

    writes: if False, `save` does nothing.
    run: key -> value of the settings that a resumed run keeps. data: name -> fingerprint of each part of the data set.
        A checkpoint with other settings or other data is refused.
    processes: how many train together. A checkpoint of another number of processes is refused; with `any_processes`, it
        is used, with a warning.
    check_folder: called before files are written; raises StorageError if the run folder is no longer in its place.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        writes: bool = True,
        run: Mapping[str, Any] | None = None,
        data: Mapping[str, str] | None = None,
        processes: int = 1,
        any_processes: bool = False,
        check_folder: Callable[[], None] = lambda: None,
    ) -> None:
        self.writes, self.run, self.data = writes, dict(run or {}), dict(data or {})
        self.processes, self.any_processes = processes, any_processes
        self.check_folder = check_folder
        self.last = run_dir / CHECKPOINT_FILE
        self.previous = run_dir / PREVIOUS_CHECKPOINT_FILE

    def save(self, state: Mapping[str, Any]) -> None:
        if not self.writes:
            return
        self.check_folder()
        content = {**state, RUN: self.run, DATA: self.data, LAYOUT: CURRENT_LAYOUT, PROCESSES: self.processes}
        # Serialize in memory first: torch's own writer does not report a full disk as an OSError.
        buffer = io.BytesIO()
        torch.save({**content, CHECKSUM: checksum(content)}, buffer)
        write_atomically(
            self.last, lambda temporary: temporary.write_bytes(buffer.getbuffer()), previous=self.previous
        )

    def newest(self) -> Path | None:
        """Return the path to continue from; None if there is none.

        After a crash between the two renames of `save`, only the previous checkpoint exists.
        """
        return next((path for path in (self.last, self.previous) if path.exists()), None)

    def load(self) -> dict[str, Any] | None:
        """Return the content of the newest intact checkpoint; None if there is no checkpoint."""
        found = self.find()
        return None if found is None else found.content

    def find(self) -> SavedState | None:
        """Return the newest intact checkpoint; None if there is no checkpoint.

        Logs a warning if the last checkpoint is damaged and the previous one is used. Raises CheckpointError if all
        checkpoints are damaged, or if the checkpoint is of another run or of other data.
        """
        damaged: list[CheckpointError] = []
        for path in (self.last, self.previous):
            if not path.exists():
                continue
            try:
                content = read_checkpoint(path)
            except CheckpointError as error:
                damaged.append(error)
                continue
            if damaged:
                logger.warning("%s; continuing from the one before, %s", damaged[0], path)
            run, data, layout = (content.pop(key, None) for key in (RUN, DATA, LAYOUT))
            self._check_origin(path, run=run, data=data, layout=layout)
            self._check_processes(path, content.pop(PROCESSES, self.processes))
            return SavedState(path, content)
        if damaged:
            raise CheckpointError(
                f"{'; '.join(map(str, damaged))}; restore a copy, or start again (rerun=true)"
            ) from damaged[0]
        return None

    def _check_processes(self, path: Path, saved: Any) -> None:
        if saved == self.processes:
            return
        if not self.any_processes:
            raise CheckpointError(
                f"{path} is of a run in {saved} processes, but {self.processes} were started; start {saved}, or continue "
                "with trainer.processes=any, which changes the figures"
            )
        logger.warning(
            "%s is of %s processes, and %d continue it: each takes another share of a batch and draws other random numbers, "
            "so the figures differ from those of a run with either number",
            path,
            saved,
            self.processes,
        )

    def _check_origin(self, path: Path, *, run: Any, data: Any, layout: Any) -> None:
        if (self.run or self.data) and layout != CURRENT_LAYOUT:
            raise CheckpointError(
                f"{path} was written by another version of this package and can't be continued; start again "
                "(rerun=true)"
            )
        run, data = (saved if isinstance(saved, Mapping) else {} for saved in (run, data))
        keys = sorted(self.run.keys() | run.keys(), key=str) if self.run else []
        if key := next((key for key in keys if self.run.get(key) != run.get(key)), None):
            theirs, ours = (printable(str(part.get(key)))[:MAX_SHOWN] for part in (run, self.run))
            raise CheckpointError(
                f"{path} is of another run ({key} is {theirs} there, not {ours}); restore that run's configuration, "
                "choose another folder, or start again (rerun=true)"
            )
        changed = [name for name in self.data if data.get(name) != self.data[name]]
        if changed:
            raise CheckpointError(
                f"the data set has changed since {path} was written ({' and '.join(changed)} images or labels); "
                "restore the earlier data, give the new data a path of its own, or start again (rerun=true)"
            )
