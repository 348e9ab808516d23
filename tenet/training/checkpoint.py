"""Reading weights and writing checkpoints: tensors and plain values only, each file whole or not there."""

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

# Under this key, fingerprints of the data set.
DATA = "data"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `Checkpoints.save` wrote. Raises CheckpointError unless it is whole, to the last bit."""
    content = read_tensors(path)
    if not isinstance(content, dict) or CHECKSUM not in content:
        raise CheckpointError(f"{path} is not a checkpoint of this project")
    if content.pop(CHECKSUM) != checksum(content):
        raise CheckpointError(f"{path} is damaged: its content does not have its checksum")
    return copy.deepcopy(content)  # the file may be gone before its tensors are


class SavedState(NamedTuple):
    path: Path
    content: dict[str, Any]


class Checkpoints:
    """The last checkpoint of a run folder, and the one before it; with `writes` off `save` does nothing.

    data: fingerprints of the parts of the data set, by name (see `fingerprint`). A checkpoint of a run that
    had others is refused.
    """

    def __init__(self, run_dir: Path, *, writes: bool = True, data: Mapping[str, str] | None = None) -> None:
        self.writes, self.data = writes, dict(data or {})
        self.last = run_dir / CHECKPOINT_FILE
        self.previous = run_dir / PREVIOUS_CHECKPOINT_FILE

    def save(self, state: Mapping[str, Any]) -> None:
        if not self.writes:
            return
        content = {**state, DATA: self.data}
        # In memory first: torch's own writer tells of a full disk in a way of its own.
        buffer = io.BytesIO()
        torch.save({**content, CHECKSUM: checksum(content)}, buffer)
        write_atomically(
            self.last, lambda temporary: temporary.write_bytes(buffer.getbuffer()), previous=self.previous
        )

    def newest(self) -> Path | None:
        """The checkpoint to go on from; None if there is none. After a crash between the renames of `save`
        there is only the one before."""
        return next((path for path in (self.last, self.previous) if path.exists()), None)

    def load(self) -> dict[str, Any] | None:
        """The content of the newest checkpoint that is whole; None if there is none at all."""
        found = self.find()
        return None if found is None else found.content

    def find(self) -> SavedState | None:
        """The newest checkpoint that is whole, with a warning if it is not the last; None if there is none at all.

        Raises CheckpointError where there are checkpoints and none is whole, or it was made from other data.
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
                logger.warning("%s; going on from the one before, %s", damaged[0], path)
            self._check_data(content.pop(DATA, {}), path)
            return SavedState(path, content)
        if damaged:
            raise CheckpointError(
                f"{'; '.join(map(str, damaged))}; put a copy back, or start anew (rerun=true)"
            ) from damaged[0]
        return None

    def _check_data(self, data: Any, path: Path) -> None:
        known = data if isinstance(data, Mapping) else {}
        changed = [name for name in self.data if known.get(name, self.data[name]) != self.data[name]]
        if changed:
            raise CheckpointError(
                f"the data set has changed since {path} was written ({' and '.join(changed)} images or labels); "
                "put back what it was, or start anew (rerun=true)"
            )
