"""CIFAR-10.1: new test images for CIFAR-10, taken the same way years later, so that the shift is natural."""

from os import PathLike
from pathlib import Path

import numpy as np
import torch

from tenet.data.arrays import ImageArrays
from tenet.errors import DatasetError
from tenet.files.arrays import open_npy

CLASSES = 10
SIZES = {"v4": 2021, "v6": 2000}
"""Images by published version. v6 is balanced between the classes and the one its authors recommend."""

_REMEDY = "take both files from github.com/modestyachts/CIFAR-10.1, folder datasets"


def natural_shift(root: str | PathLike[str], version: str = "v6") -> ImageArrays:
    """Images and labels, in CIFAR-10's classes and their order, of the two files of `version` in `root`:

    `cifar10.1_<version>_data.npy` uint8 [n, 32, 32, 3] and `cifar10.1_<version>_labels.npy`,
    integers [n]; versions that are not in SIZES may have any n. Nothing in a file is ever unpickled.
    Raises DatasetError, naming the file, the rule and the remedy.
    Source: Recht et al. 2018 (arXiv 1806.00451).
    """
    data_path = Path(root) / f"cifar10.1_{version}_data.npy"
    labels_path = Path(root) / f"cifar10.1_{version}_labels.npy"
    images = open_npy(data_path, remedy=_REMEDY)
    labels = open_npy(labels_path, remedy=_REMEDY)
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
    if labels.min() < 0 or labels.max() >= CLASSES:
        raise DatasetError(
            f"{labels_path} holds labels from {labels.min()} to {labels.max()}, not in [0, {CLASSES}); {_REMEDY}"
        )
    # Copies: tensors can't be views of read-only files.
    return ImageArrays(torch.from_numpy(np.array(images)), torch.from_numpy(labels.astype(np.int64)))
