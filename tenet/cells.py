"""The finished cells of a sweep on disk, so that an interrupted one goes on where it was."""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tenet.checkpoint import write_atomically
from tenet.predictions import Predictions

logger = logging.getLogger("tenet")


class CellStore:
    """One file a cell in `folder`, of one `identity`: what was measured, on what, and how.

    Where the folder holds cells of another identity (other weights, other images), they are thrown away,
    with a line that says what changed. Each file is written whole or not at all.
    """

    def __init__(self, folder: Path, *, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        known = folder / "identity.json"
        text = json.dumps(dict(identity), indent=2, sort_keys=True) + "\n"
        if folder.exists() and (not known.exists() or known.read_text() != text):
            if known.exists():
                before = json.loads(known.read_text())
                changed = sorted(key for key in {*before, *identity} if before.get(key) != identity.get(key))
                logger.info("starting the sweep anew: %s changed", ", ".join(changed))
            shutil.rmtree(folder)
        if not known.exists():
            write_atomically(known, lambda temporary: temporary.write_text(text))
        self.found = len(list(folder.glob("*.npz")))

    def load(self, name: str) -> Predictions | None:
        path = self.folder / f"{name}.npz"
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as file:
            return Predictions(*(torch.from_numpy(file[field]) for field in Predictions._fields))

    def save(self, name: str, predictions: Predictions) -> None:
        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(
                    file, **{field: getattr(predictions, field).numpy() for field in Predictions._fields}
                )

        write_atomically(self.folder / f"{name}.npz", write)

    def discard(self) -> None:
        shutil.rmtree(self.folder)
