"""Reader of the official archives (CIFAR-10-C, CIFAR-100-C and whatever shares their layout)."""

from os import PathLike
from pathlib import Path

import numpy as np

from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, check_cell
from tenet.errors import DatasetError
from tenet.files.arrays import open_npy

REMEDY = "unpack the official archive there, with its labels.npy"
MAX_LABELS = 10**7


class OfficialArchive:
    """A folder of `<corruption>.npy` uint8 [5 n, h, w, 3], severity 1 first, and `labels.npy` [5 n].

    The images stay on disk: a cell is a view of a memory map. Nothing in a file is ever unpickled.
    Raises DatasetError, naming the file, the rule and the remedy, when the folder
    does not hold that layout. Layout: github.com/hendrycks/robustness, make_cifar_c.py.
    """

    def __init__(self, root: str | PathLike[str]) -> None:
        self.root = Path(root)
        self._labels = self._read_labels()
        self.images_per_severity = len(self._labels)
        known = CORRUPTIONS + EXTRA_CORRUPTIONS
        present = [name for name in known if (self.root / f"{name}.npy").is_file()]
        if not present:
            raise DatasetError(
                f"{self.root} holds no <corruption>.npy; unpack the official archive there, or point to "
                f"the folder that holds {known[0]}.npy"
            )
        self._images = {name: self._read_images(name) for name in present}

    @property
    def names(self) -> tuple[str, ...]:
        """The corruptions present, in the canonical order."""
        return tuple(self._images)

    def cell(self, corruption: str, severity: int) -> tuple[np.ndarray, np.ndarray]:
        """(images uint8 [n, h, w, 3], a read-only view of the file; labels int64 [n])."""
        check_cell(corruption, severity)
        if corruption not in self._images:
            raise DatasetError(
                f"{self.root / corruption}.npy is missing; present are {', '.join(self.names)}. "
                "Unpack the whole archive, or leave this corruption out"
            )
        start = (severity - 1) * self.images_per_severity
        return self._images[corruption][start : start + self.images_per_severity], self._labels.copy()

    def _read_labels(self) -> np.ndarray:
        path = self.root / "labels.npy"
        labels = open_npy(path, remedy=REMEDY)
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise DatasetError(
                f"{path} holds {labels.dtype} {list(labels.shape)}, not integers [5 n]; use the official one"
            )
        if len(labels) > MAX_LABELS:
            raise DatasetError(
                f"{path} has {len(labels):,} rows, more than {MAX_LABELS:,}; use the official one"
            )
        if len(labels) == 0 or len(labels) % len(SEVERITIES):
            raise DatasetError(
                f"{path} has {len(labels)} rows, not five times the number of images; it may be cut short: "
                "download it again"
            )
        by_severity = labels.reshape(len(SEVERITIES), -1).astype(np.int64)
        if (by_severity != by_severity[0]).any():
            raise DatasetError(
                f"{path} differs between severities, but each severity must show the same images in the same "
                "order; use the labels.npy that came with the images"
            )
        return by_severity[0]

    def _read_images(self, corruption: str) -> np.ndarray:
        path = self.root / f"{corruption}.npy"
        images = open_npy(path, remedy=REMEDY)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise DatasetError(
                f"{path} holds {images.dtype} {list(images.shape)}, not uint8 [5 n, h, w, 3]; take the "
                "official file, or convert yours"
            )
        rows = len(SEVERITIES) * self.images_per_severity
        if len(images) != rows:
            raise DatasetError(
                f"{path} has {len(images)} rows but labels.npy has {rows}; both need five times the number "
                "of images: download again the one that is cut short"
            )
        return images
