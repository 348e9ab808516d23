"""Readers of archives of corrupted images: .npy files, as of CIFAR-10-C, and trees of images, as of ImageNet-C."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch

from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, check_cell
from tenet.data import ImageArrays, ImageSource, MappedImages
from tenet.data.folders import ClassFolder, find_classes
from tenet.errors import DatasetError
from tenet.files.arrays import open_npy
from tenet.files.names import MANIFEST_FILE
from tenet.files.paths import user_path

REMEDY = "unpack the official archive there, with its labels.npy"
MAX_LABELS = 10**7
NAMES = CORRUPTIONS + EXTRA_CORRUPTIONS


class OfficialArchive:
    """A folder of `<corruption>.npy` uint8 [5 n, h, w, 3], severity 1 first, and `labels.npy` [5 n].

    The images stay on disk: a cell reads a memory map. Nothing in a file is ever unpickled.
    kind: "files", or "generated" if this package wrote the archive, which its manifest shows.
    names: the corruptions present, in the canonical order.
    classes: names in the order of the labels, if they are known.
    Raises DatasetError, with the file, the rule and the remedy, if the folder does not have that layout.
    Layout: github.com/hendrycks/robustness, make_cifar_c.py.
    """

    def __init__(self, root: str | PathLike[str], *, classes: Sequence[str] = ()) -> None:
        self.root, self.classes = Path(root), tuple(classes)
        self.kind = "generated" if (self.root / MANIFEST_FILE).exists() else "files"
        self._labels = self._read_labels()
        self.images_per_severity = len(self._labels)
        self.names = tuple(name for name in NAMES if (self.root / f"{name}.npy").is_file())
        if not self.names:
            raise DatasetError(
                f"{self.root} holds no <corruption>.npy; unpack the official archive there, or point to "
                f"the folder that holds {NAMES[0]}.npy"
            )
        self._images = {name: self._read_images(name) for name in self.names}

    def cell(self, corruption: str, severity: int) -> MappedImages:
        """The images of one severity, in the order of the file.

        Raises DatasetError if the corruption is not present; ValueError if no such corruption or severity exists.
        """
        path = self.root / f"{corruption}.npy"
        check_present(path, self.names, severity)
        start = (severity - 1) * self.images_per_severity
        rows = slice(start, start + self.images_per_severity)
        labels = torch.from_numpy(self._labels)
        return MappedImages(path, self._images[corruption], labels, classes=self.classes, rows=rows)

    def check_fits(self, test: ImageSource) -> None:
        """Raise DatasetError if the archive was made from another data set than the one with these test images:
        its figures would look like figures."""
        question = "is this the archive of another data set?"
        path, labels, classes = self.root / "labels.npy", self._labels, len(test.classes)
        if labels.min() < 0 or labels.max() >= classes:
            raise DatasetError(
                f"{path} holds labels from {labels.min()} to {labels.max()}, but the data "
                f"set has {classes} classes; {question}"
            )
        first = self.names[0]
        shape = list(self._images[first].shape[1:])
        if isinstance(test, ImageArrays) and shape != (own := list(test.images.shape[1:])):
            raise DatasetError(
                f"{self.root / first}.npy holds images of {shape}, but the data set's are {own}; {question}"
            )
        # As many images as the test set has, in any order, must be as many of each class.
        expected = np.bincount(test.labels.cpu().numpy(), minlength=classes)
        if len(labels) == len(test) and (np.bincount(labels, minlength=classes) != expected).any():
            raise DatasetError(
                f"{path} has other numbers of images by class than the data set's test labels; {question}"
            )

    def identity(self) -> dict[str, object]:
        return identify(self, "*.npy")

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


class FolderArchive:
    """A tree `<corruption>/<severity>/<class>/*.JPEG`; all cells must have the same classes.

    classes: names in the order of the labels; by default the names of the folders, sorted.
    Raises DatasetError with the folder that is missing, or the class that is not in every cell.
    """

    kind = "files"

    def __init__(self, root: str | PathLike[str], *, classes: Sequence[str] | None = None) -> None:
        self.root = Path(root)
        self.names = tuple(name for name in NAMES if (self.root / name).is_dir())
        if not self.names:
            raise DatasetError(
                f"{self.root} holds no folder of a corruption; unpack the archive there, or give the folder "
                f"that holds {NAMES[0]}"
            )
        for name in self.names:
            for severity in SEVERITIES:
                classes = find_classes(self.root / name / str(severity), expected=classes)
        self.classes = tuple(classes or ())
        self._images_per_class: np.ndarray | None = None

    def cell(self, corruption: str, severity: int) -> ClassFolder:
        """Raises DatasetError if the corruption is not present, or if a class has more or fewer images than in the
        cells that were opened before; ValueError if no such corruption or severity exists."""
        check_present(self.root / corruption, self.names, severity)
        cell = ClassFolder(self.root / corruption / str(severity), classes=self.classes)
        # Otherwise an archive that was unpacked in part would be measured on fewer images, unnoticed.
        counts = np.bincount(cell.labels.numpy())
        if self._images_per_class is None:
            self._images_per_class = counts
        for label in np.flatnonzero(counts != self._images_per_class)[:1]:
            raise DatasetError(
                f"{cell.root / self.classes[label]} has {counts[label]} images, but other cells have "
                f"{self._images_per_class[label]} of this class; unpack the archive again"
            )
        return cell

    def identity(self) -> dict[str, object]:
        # The folders of classes only: millions of images would take too long.
        return identify(self, "*/*/*")


def check_present(path: Path, names: Sequence[str], severity: int) -> None:
    """Raise DatasetError unless the corruption of this file or folder is one of `names`, those present."""
    check_cell(path.stem, severity)
    if path.stem not in names:
        raise DatasetError(
            f"{path} is missing; present are {', '.join(names)}. Unpack the whole archive, or leave this "
            "corruption out"
        )


def identify(archive: OfficialArchive | FolderArchive, pattern: str) -> dict[str, object]:
    """The folder, and names, sizes and times of what matches in it, which change when the content does."""
    root = archive.root
    stats = {str(path.relative_to(root)): path.stat() for path in sorted(root.glob(pattern))}
    files = {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}
    return {"kind": archive.kind, "root": str(root.resolve()), "files": files}


def open_archive(root: str | PathLike[str], *, test: ImageSource) -> OfficialArchive | FolderArchive:
    """A folder of .npy files, or a tree of images, made from the data set with these clean test images.

    Raises DatasetError if the folder holds neither, or was made from another data set.
    """
    folder = user_path(root, key="corruptions.root")
    if not list(folder.glob("*.npy")) and any((folder / name).is_dir() for name in CORRUPTIONS):
        return FolderArchive(folder, classes=test.classes)
    archive = OfficialArchive(folder, classes=test.classes)
    archive.check_fits(test)
    return archive
