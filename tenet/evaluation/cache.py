"""Predictions on disk, a file for each cell, so that an interrupted evaluation continues where it stopped."""

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
from tenet.evaluation.measures import AnyPredictions, Predictions
from tenet.evaluation.multi_label import MultiLabelPredictions
from tenet.files.arrays import read_arrays
from tenet.files.atomic import write_atomically
from tenet.files.json import read_json
from tenet.files.names import IDENTITY_FILE, PIN_FILE
from tenet.files.plain import check_own, check_plain

# The arrays of a cell, by what was predicted.
KINDS: dict[type[AnyPredictions], dict[str, type]] = {
    Predictions: {
        **{"predicted": np.int64, "labels": np.int64},
        **{"confidence": np.float32, "nll": np.float32, "brier": np.float32},
    },
    MultiLabelPredictions: {"logits": np.float32, "labels": np.int8},
}
logger = logging.getLogger("tenet")


def save_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Write an .npz file, whole or not at all, into a folder that may be missing."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # np.savez would add .npz to the temporary name
            np.savez(file, **arrays)

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, write)


class PredictionCache:
    """One file for each cell in `folder`, all of one `identity`: plain values that say what is predicted, and how.

    If the folder holds predictions of another identity (other weights, other images), they are deleted, and a log
    line says what changed. Keys that only one of the two identities has don't count: suites may come and go.
    Each file is written whole or not at all, and one process at a time works in the folder.

    Raises ConfigError if another process does, if the folder holds other files, or if it holds predictions of
    another identity that an evaluation was asked to keep.
    """

    def __init__(self, folder: Path, *, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self._lock_folder()
        try:
            self._open(json.loads(json.dumps(dict(identity))))  # tuples become lists, as in the file
        except BaseException:
            self._unlock_folder()
            raise
        self.cached = len(list(folder.glob("*.npz")))

    def _open(self, identity: dict[str, Any]) -> None:
        folder, path = self.folder, self.folder / IDENTITY_FILE
        if folder.exists() and not path.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder} holds other files; choose another output=FILE.json")
        check_plain(path)
        before = read_json(path)
        changed = sorted(key for key in identity if before.get(key, identity[key]) != identity[key])
        if path.exists() and (changed or not before):
            if self.is_pinned:
                raise ConfigError(
                    f"{folder} keeps the predictions of another evaluation; remove it, "
                    "or choose another output=FILE.json"
                )
            logger.info("starting the evaluation again: %s changed", ", ".join(changed) or IDENTITY_FILE)
            shutil.rmtree(folder)
            before = {}
        if (merged := {**before, **identity}) != before:
            text = json.dumps(merged, indent=2, sort_keys=True) + "\n"
            write_atomically(path, lambda temporary: temporary.write_text(text))

    def _lock_folder(self) -> None:
        """Keep other processes out until this one ends; the kernel unlocks, however it ends."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._lock_path = self.folder.with_name(f".{self.folder.name}.lock")
        check_own(self.folder, self._lock_path)
        self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            # lockf locks for the process, not for the open file: a process that gave up a sweep can begin it again.
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise ConfigError(
                f"another process is evaluating into {self.folder.parent}; wait for it"
            ) from error

    def _unlock_folder(self) -> None:
        self._lock_path.unlink(missing_ok=True)
        os.close(self._lock)

    @property
    def is_pinned(self) -> bool:
        """Whether an evaluation was asked to keep these predictions."""
        return (self.folder / PIN_FILE).exists()

    def load(self, name: str) -> AnyPredictions | None:
        """None for a cell that is missing or damaged: it must be predicted again."""
        for kind, dtypes in KINDS.items():
            try:
                arrays = read_arrays(self._path(name), list(dtypes))
            except DatasetError:
                continue
            shapes = {array.shape for array in arrays.values()}
            is_right = all(arrays[field].dtype == dtype for field, dtype in dtypes.items())
            if (
                is_right
                and len(shapes) == 1
                and len(shapes.pop()) == (2 if kind is MultiLabelPredictions else 1)
            ):
                return kind(**{field: torch.from_numpy(array) for field, array in arrays.items()})
        return None

    def save(self, name: str, predictions: AnyPredictions) -> None:
        save_arrays(
            self._path(name), {field: tensor.numpy() for field, tensor in predictions._asdict().items()}
        )
        shutil.rmtree(self.parts(name), ignore_errors=True)

    def parts(self, name: str) -> Path:
        """The folder for the parts of a cell that is not yet whole; it may be missing."""
        return self._path(name).with_suffix(".parts")

    def _path(self, name: str) -> Path:
        # corruption/fog/3 has been in fog-3.npz since 0.1.
        return self.folder / f"{name.removeprefix('corruption/').replace('/', '-')}.npz"

    def close(self, *, keep: bool) -> None:
        """The report is written: keep the cells, or delete them unless an earlier evaluation was asked to keep them."""
        if keep:
            (self.folder / PIN_FILE).touch()
        elif not self.is_pinned:
            shutil.rmtree(self.folder)
        self._unlock_folder()
