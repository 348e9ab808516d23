"""CIFAR-10.1: test images collected as CIFAR-10's were, years later, so that the shift is a natural one."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np
import torch

from tenet.data import ImageArrays
from tenet.errors import DatasetError
from tenet.evaluation.matching import match_classes
from tenet.evaluation.measures import AnyPredictions, Measures
from tenet.evaluation.suites.suite import Cell, Suite, Summary
from tenet.files.arrays import open_npy

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
"""CIFAR-10's, in the order of its labels."""
SIZE = (32, 32)
SIZES = {"v4": 2021, "v6": 2000}
"""Images by published version. v6 is balanced between the classes and the one its authors recommend."""

_REMEDY = "take both files from github.com/modestyachts/CIFAR-10.1, folder datasets"


class NaturalShift(Suite):
    """The versions of CIFAR-10.1 that the folder `root` holds; v6 if it holds none.

    size: height and width of the data set's images. Raises DatasetError if a file is missing or wrong, or if the
    classifier has other classes or images of another size than CIFAR-10.
    """

    name = "natural_shift"

    def __init__(self, root: Path, *, measures: Measures, size: tuple[int, int] = SIZE) -> None:
        if len(measures.classes) != len(CLASSES):
            raise DatasetError(
                f"{root}: CIFAR-10.1 needs a classifier of {len(CLASSES)} classes, not of {len(measures.classes)}"
            )
        if size != SIZE:
            raise DatasetError(
                f"{root}: the images of CIFAR-10.1 are 32 x 32, but the data set's are {size[1]} x {size[0]}"
            )
        self.measures = measures
        order = match_classes(measures.classes, CLASSES, where=str(root))
        present = [version for version in SIZES if (root / f"cifar10.1_{version}_data.npy").exists()]
        self._cells = [
            Cell(f"cifar10.1-{version}", _relabel(read_cifar101(root, version), order))
            for version in present or ["v6"]
        ]

    def cells(self) -> Iterator[Cell]:
        return iter(self._cells)

    def summarize(self, predictions: Mapping[str, AnyPredictions]) -> Summary:
        summary = super().summarize(predictions)
        return replace(summary, content={"other_test_sets": summary.content[self.name]})


def _relabel(images: ImageArrays, order: tuple[int, ...] | None) -> ImageArrays:
    return images if order is None else replace(images, labels=torch.tensor(order)[images.labels])


def read_cifar101(root: str | PathLike[str], version: str = "v6") -> ImageArrays:
    """Read one version of CIFAR-10.1, with CIFAR-10's classes in their order, from two files in `root`:

    `cifar10.1_<version>_data.npy` uint8 [n, 32, 32, 3] and `cifar10.1_<version>_labels.npy`,
    integers [n]. Versions that are not in SIZES may have any n. Nothing in a file is ever unpickled.
    Raises DatasetError with the file, the rule and the remedy.
    Source: Recht et al. 2018 (arXiv 1806.00451).
    """
    data_path = Path(root) / f"cifar10.1_{version}_data.npy"
    labels_path = Path(root) / f"cifar10.1_{version}_labels.npy"
    images, labels = (open_npy(path, remedy=_REMEDY) for path in (data_path, labels_path))
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3) or len(images) == 0:
        raise DatasetError(
            f"{data_path} holds {images.dtype} {list(images.shape)}, not uint8 [n, 32, 32, 3]; {_REMEDY}"
        )
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise DatasetError(
            f"{labels_path} holds {labels.dtype} {list(labels.shape)}, not integers [{len(images)}], one for "
            f"each image; {_REMEDY}"
        )
    if len(images) != SIZES.get(version, len(images)):
        raise DatasetError(
            f"{data_path} holds {len(images)} images, but {version} has {SIZES[version]}; {_REMEDY}"
        )
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        raise DatasetError(
            f"{labels_path} holds labels from {labels.min()} to {labels.max()}, not in [0, {len(CLASSES)}); {_REMEDY}"
        )
    # Copies: tensors can't be views of read-only files.
    return ImageArrays(torch.from_numpy(np.array(images)), torch.from_numpy(labels.astype(np.int64)))
