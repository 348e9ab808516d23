"""Readers of archives of corrupted images: .npy files, as of CIFAR-10-C, and trees of images, as of ImageNet-C."""

import hashlib
import logging
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch

from tenet.corruptions.likeness import warn_of_other_images
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, check_cell
from tenet.corruptions.parameters import IMAGENET_BAR_MAGNITUDES
from tenet.data import ImageArrays, ImageIndex, Images, ImageSource, MappedImages
from tenet.data.arrays import as_class_numbers
from tenet.data.folders import find_classes, find_images, index_folder, list_classes
from tenet.errors import DatasetError
from tenet.files.arrays import open_npy
from tenet.files.json import read_json
from tenet.files.names import MANIFEST_FILE
from tenet.files.paths import user_path

REMEDY = "unpack the official archive there, with its labels.npy"
MAX_LABELS = 10**7
NAMES = CORRUPTIONS + EXTRA_CORRUPTIONS
logger = logging.getLogger("tenet")


class OfficialArchive:
    """A folder of `<corruption>.npy` uint8 [5 n, h, w, 3], severity 1 first, and `labels.npy`, integers [5 n] or as
    `as_class_numbers` takes them.

    The images stay on disk: a cell reads a memory map. Nothing in a file is ever unpickled.
    kind: "files", or "generated" if this package wrote the archive, which its manifest shows.
    names: the corruptions to look for, and then those that are present, in this order.
    classes: names in the order of the labels, if they are known.
    Raises DatasetError, with the file, the rule and the remedy, if the folder does not have that layout.
    Layout: github.com/hendrycks/robustness, make_cifar_c.py.
    """

    def __init__(
        self, root: str | PathLike[str], *, classes: Sequence[str] = (), names: Sequence[str] = NAMES
    ) -> None:
        self.root, self.classes = Path(root), tuple(classes)
        self.kind = "generated" if (self.root / MANIFEST_FILE).exists() else "files"
        self._labels = self._read_labels()
        self.images_per_severity = len(self._labels)
        self.names = tuple(name for name in names if (self.root / f"{name}.npy").is_file())
        if not self.names:
            raise DatasetError(
                f"{self.root} holds no <corruption>.npy; unpack the official archive there, or point to "
                f"the folder that holds {names[0]}.npy"
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

    def check_fits(self, test: ImageSource, *, has_labels: bool = True) -> None:
        """Raise DatasetError unless the archive can be made from these test images: its figures would look like figures.

        As many images as the test set has must have its labels, in its order; fewer images are a part of it. An
        archive of this package must be made from these very images. has_labels: False for stand-ins of a data set that
        is not there: labels and images are then not compared.
        """
        question = "is this the archive of another data set?"
        path, labels, classes = self.root / "labels.npy", self._labels, len(test.classes)
        if labels.min() < 0 or labels.max() >= classes:
            raise DatasetError(
                f"{path} holds labels from {labels.min()} to {labels.max()}, but the data "
                f"set has {classes} classes; {question}"
            )
        first = self.names[0]
        shape, own = list(self._images[first].shape[1:]), [*test.image_size(), 3]
        if shape != own:
            raise DatasetError(
                f"{self.root / first}.npy holds images of {shape}, but the data set's are {own}; {question}"
            )
        if not has_labels:
            return
        check_counts(self.root, labels, test)
        if len(labels) == len(test) and (differ := int((labels != test.labels.cpu().numpy()).sum())):
            raise DatasetError(
                f"{path}: the labels differ from the test set's in {differ} of {len(test)} places: the archive has "
                "other images, another order, or other numbers of the classes; bring both to one order"
            )
        made_from = read_json(self.root / MANIFEST_FILE).get("images_sha256")
        if isinstance(test, ImageArrays) and made_from not in (None, sha256_of_images(test)):
            raise DatasetError(
                f"{self.root} was made from other images than the data set's test images, as its {MANIFEST_FILE} "
                "shows; make it again with python -m tenet.corruptions"
            )

    def identity(self) -> dict[str, object]:
        return identify(self, "*.npy")

    def _read_labels(self) -> np.ndarray:
        path = self.root / "labels.npy"
        labels = open_npy(path, remedy=REMEDY)
        if labels.size > MAX_LABELS:
            raise DatasetError(
                f"{path} has {labels.size:,} values, more than {MAX_LABELS:,}; use the official one"
            )
        labels = as_class_numbers(labels, source=str(path))
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
    """A tree `<corruption>/<severity>/<class>/**/*.JPEG`.

    names: as in `OfficialArchive`. A severity of ImageNet-C-bar may also be called by its magnitude, such as 2.35.
    classes: names in the order of the labels, such as those of a subset of ImageNet; folders of other classes are left
    out, with a line. By default the names of the folders, sorted as in `find_classes`, which all cells must have.
    Raises DatasetError with the folder that is missing, or the class that is not in every cell.
    """

    kind = "files"

    def __init__(
        self,
        root: str | PathLike[str],
        *,
        classes: Sequence[str] | None = None,
        names: Sequence[str] = NAMES,
    ) -> None:
        self.root = Path(root)
        self.names = tuple(name for name in names if (self.root / name).is_dir())
        if not self.names:
            raise DatasetError(
                f"{self.root} holds no folder of a corruption; unpack the archive there, or give the folder "
                f"that holds {names[0]}"
            )
        folders = [self.folder(name, severity) for name in self.names for severity in SEVERITIES]
        allow_more = classes is not None
        for folder in folders:
            classes = find_classes(folder, expected=classes, allow_more=allow_more)
        self.classes = tuple(classes or ())
        if others := set().union(*map(list_classes, folders)) - set(self.classes):
            logger.warning(
                "%s: %d of its classes left out, which the data set does not have", self.root, len(others)
            )
        self._images_per_class: np.ndarray | None = None
        self._test: ImageSource | None = None
        self._size: tuple[int, int] | None = None
        self._workers: int | None = None

    def folder(self, corruption: str, severity: int) -> Path:
        """That of one cell; it may be missing."""
        folder = self.root / corruption / str(severity)
        if not folder.exists() and corruption in IMAGENET_BAR_MAGNITUDES:
            magnitude = self.root / corruption / f"{IMAGENET_BAR_MAGNITUDES[corruption][severity - 1]:.2f}"
            return magnitude if magnitude.exists() else folder
        return folder

    def check_fits(self, test: ImageSource) -> None:
        """Raise DatasetError if the first image has another size than these test images. From now on, `cell` does so if
        an image has, or if a class has more images than in the test set."""
        height, width = test.image_size()
        self._test, self._size = test, (width, height)
        self._workers = test.workers if isinstance(test, Images) else None
        first = self.folder(self.names[0], SEVERITIES[0]) / self.classes[0]
        if images := find_images(first)[0]:
            index = ImageIndex.build(first, [(images[0], 0)], classes=self.classes[:1])
            Images(index, size=self._size).read(torch.tensor([0]))

    def cell(self, corruption: str, severity: int) -> Images:
        """Raises DatasetError if the corruption is not present, or if a class has more or fewer images than in the
        cells that were opened before, or more than the test set; ValueError if no such corruption or severity exists."""
        check_present(self.root / corruption, self.names, severity)
        cell = self._open(corruption, severity)
        root = cell.index.root
        if self._test is not None:
            check_counts(root, cell.labels.numpy(), self._test)
        # Otherwise an archive that was unpacked in part would be measured on fewer images, unnoticed.
        counts = np.bincount(cell.labels.numpy())
        if self._images_per_class is None:
            self._images_per_class = counts
        for label in np.flatnonzero(counts != self._images_per_class)[:1]:
            raise DatasetError(
                f"{root / self.classes[label]} has {counts[label]} images, but other cells have "
                f"{self._images_per_class[label]} of this class; unpack the archive again"
            )
        return cell

    def _open(self, corruption: str, severity: int) -> Images:
        index = index_folder(self.folder(corruption, severity), classes=self.classes, allow_more=True)
        return Images(index, workers=self._workers, size=self._size)

    def identity(self) -> dict[str, object]:
        # The folders of classes only: millions of images would take too long.
        return identify(self, "*/*/*")


def sha256_of_images(test: ImageArrays) -> str:
    """As in the manifest of a generated archive."""
    return hashlib.sha256(test.images.cpu().contiguous().numpy().data).hexdigest()


def check_counts(root: Path, labels: np.ndarray, test: ImageSource) -> None:
    """Raise DatasetError if a class has more images in `labels` than in the test set."""
    present = np.bincount(labels, minlength=len(test.classes))
    expected = np.bincount(test.labels.cpu().numpy(), minlength=len(test.classes))
    for label in np.flatnonzero(present > expected)[:1]:
        raise DatasetError(
            f"{root} has {present[label]} images of class {test.classes[label]}, but the test set has "
            f"{expected[label]}; is this the archive of another data set?"
        )


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


def open_archive(
    root: str | PathLike[str],
    *,
    test: ImageSource,
    has_labels: bool = True,
    names: Sequence[str] = NAMES,
    key: str = "corruptions.root",
) -> OfficialArchive | FolderArchive:
    """A folder of .npy files, or a tree of images, made from the data set with these clean test images.

    has_labels: as in `OfficialArchive.check_fits`. names: the corruptions to look for. key: for messages.
    Raises DatasetError if the folder holds neither, or was made from
    another data set.
    """
    folder = user_path(root, key=key)
    if not list(folder.glob("*.npy")) and any((folder / name).is_dir() for name in names):
        tree = FolderArchive(folder, classes=test.classes, names=names)
        tree.check_fits(test)
        return tree
    archive = OfficialArchive(folder, classes=test.classes, names=names)
    archive.check_fits(test, has_labels=has_labels)
    if has_labels:
        warn_of_other_images(archive, test)
    return archive
