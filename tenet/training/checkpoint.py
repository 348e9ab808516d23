"""Checkpoints: tensors and plain values only; a file is either complete or absent."""

import copy
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tenet.errors import CheckpointError
from tenet.files.atomic import write_atomically
from tenet.files.names import CHECKPOINT_FILE, PREVIOUS_CHECKPOINT_FILE
from tenet.files.tensors import read_tensors
from tenet.files.weights import CHECKSUM, checksum

logger = logging.getLogger("tenet")

# Under these keys, fingerprints of the data set and the version of the layout of a checkpoint.
DATA, LAYOUT = "data", "layout"
CURRENT_LAYOUT = 2


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
    data: name -> fingerprint of each part of the data set. A checkpoint with other fingerprints is refused.
    """

    def __init__(self, run_dir: Path, *, writes: bool = True, data: Mapping[str, str] | None = None) -> None:
        self.writes, self.data = writes, dict(data or {})
        self.last = run_dir / CHECKPOINT_FILE
        self.previous = run_dir / PREVIOUS_CHECKPOINT_FILE

    def save(self, state: Mapping[str, Any]) -> None:
        if not self.writes:
            return
        content = {**state, DATA: self.data, LAYOUT: CURRENT_LAYOUT}
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
        checkpoints are damaged, or if the checkpoint was written with other data.
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
            self._check_origin(path, data=content.pop(DATA, {}), layout=content.pop(LAYOUT, 1))
            return SavedState(path, content)
        if damaged:
            raise CheckpointError(
                f"{'; '.join(map(str, damaged))}; restore a copy, or start again (rerun=true)"
            ) from damaged[0]
        return None

    def _check_origin(self, path: Path, *, data: Any, layout: Any) -> None:
        if self.data and layout != CURRENT_LAYOUT:
            raise CheckpointError(
                f"{path} was written by another version of this package and can't be continued; start again "
                "(rerun=true)"
            )
        known = data if isinstance(data, Mapping) else {}
        changed = [name for name in self.data if known.get(name, self.data[name]) != self.data[name]]
        if changed:
            raise CheckpointError(
                f"the data set has changed since {path} was written ({' and '.join(changed)} images or labels); "
                "restore the earlier data, or start again (rerun=true)"
            )
