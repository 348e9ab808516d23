"""The finished cells of a sweep on disk, so that an interrupted one goes on where it was."""

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tenet.errors import ConfigError, DatasetError
from tenet.evaluation.predictions import Predictions
from tenet.files.arrays import read_arrays
from tenet.files.atomic import write_atomically
from tenet.files.json import read_json
from tenet.files.names import IDENTITY_FILE, PIN_FILE
from tenet.files.plain import check_plain

DTYPES = {"predicted": np.int64, "labels": np.int64, "confidence": np.float32, "nll": np.float32}
logger = logging.getLogger("tenet")


class PredictionCache:
    """One file a cell in `folder`, of one `identity`: what was measured, on what, and how.

    Where the folder holds the cells of an interrupted sweep of another identity (other weights, other images),
    they are thrown away, with a line that says what changed. Each file is written whole or not at all, and one
    process at a time works in the folder. Raises ConfigError if another does, if the folder holds other
    files, or predictions that another evaluation was asked to keep.
    """

    def __init__(self, folder: Path, *, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self._hold()
        try:
            self._open(json.dumps(dict(identity), indent=2, sort_keys=True) + "\n", identity)
        except BaseException:
            self._let_go()
            raise
        self.cached = len(list(folder.glob("*.npz")))

    def _open(self, text: str, identity: Mapping[str, Any]) -> None:
        folder, known = self.folder, self.folder / IDENTITY_FILE
        if folder.exists() and not known.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder} holds other files; choose another output=FILE.json")
        check_plain(known)
        if known.exists() and known.read_text() != text:
            if self.is_pinned:
                raise ConfigError(
                    f"{folder} keeps the predictions of another evaluation; remove it, "
                    "or choose another output=FILE.json"
                )
            before = read_json(known)
            changed = sorted(key for key in {*before, *identity} if before.get(key) != identity.get(key))
            logger.info("starting the sweep anew: %s changed", ", ".join(changed))
            shutil.rmtree(folder)
        if not known.exists():
            write_atomically(known, lambda temporary: temporary.write_text(text))

    def _hold(self) -> None:
        """Keep other processes out until this one ends; the kernel lets go, however it ends."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._lock_path = self.folder.with_name(f".{self.folder.name}.lock")
        check_plain(self._lock_path)
        self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # Of the process, and not of the open file: one that gave up a sweep may begin it again.
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise ConfigError(
                f"another process is evaluating into {self.folder.parent}; wait for it"
            ) from error

    def _let_go(self) -> None:
        self._lock_path.unlink(missing_ok=True)
        os.close(self._lock)

    @property
    def is_pinned(self) -> bool:
        """Whether an evaluation was asked to keep what is here."""
        return (self.folder / PIN_FILE).exists()

    def load(self, name: str) -> Predictions | None:
        """None for a cell that is not there, or damaged: it is measured again."""
        try:
            arrays = read_arrays(self.folder / f"{name}.npz", Predictions._fields)
        except DatasetError:
            return None
        is_right = all(arrays[field].dtype == dtype for field, dtype in DTYPES.items())
        lengths = {array.shape if array.ndim == 1 else None for array in arrays.values()}
        if not is_right or len(lengths) != 1 or None in lengths:
            return None
        return Predictions(*(torch.from_numpy(arrays[field]) for field in Predictions._fields))

    def save(self, name: str, predictions: Predictions) -> None:
        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(
                    file, **{field: getattr(predictions, field).numpy() for field in Predictions._fields}
                )

        write_atomically(self.folder / f"{name}.npz", write)

    def close(self, *, keep: bool) -> None:
        """The report is written: keep the cells, or discard them unless an earlier evaluation kept them."""
        if keep:
            (self.folder / PIN_FILE).touch()
        elif not self.is_pinned:
            shutil.rmtree(self.folder)
        self._let_go()
