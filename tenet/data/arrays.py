"""Image data sets as arrays: the containers, and the `.npz` files that users bring."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from tenet.errors import DatasetError
from tenet.files.arrays import read_arrays

MAX_CLASS_NAME = 100


class ImageArrays(NamedTuple):
    """Images and their labels, on one device."""

    images: UInt8[Tensor, "image h w 3"]
    labels: Int64[Tensor, " image"]

    def to(self, device: torch.device | str) -> "ImageArrays":
        return ImageArrays(self.images.to(device), self.labels.to(device))

    def batches(self, batch_size: int) -> "Iterator[ImageArrays]":
        for start in range(0, len(self.labels), batch_size):
            yield ImageArrays(
                self.images[start : start + batch_size], self.labels[start : start + batch_size]
            )

    def take(self, ids: Int64[Tensor, " chosen"]) -> "ImageArrays":
        return ImageArrays(self.images[ids], self.labels[ids])


class Splits(NamedTuple):
    """A data set ready for use. `validation` is None unless a part of the training set was held out."""

    train: ImageArrays
    validation: ImageArrays | None
    test: ImageArrays
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Normalization:
    """Maps images_01 to the network's input: (x - mean) / std, by channel."""

    mean: Sequence[float] = (0.5, 0.5, 0.5)
    std: Sequence[float] = (0.5, 0.5, 0.5)

    def __call__(self, images_01: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 3 h w"]:
        mean, std = (_by_channel(tuple(values), images_01.device) for values in (self.mean, self.std))
        return (images_01 - mean) / std


@lru_cache
def _by_channel(values: tuple[float, ...], device: torch.device) -> Float[Tensor, "3 1 1"]:
    """Kept, so that no batch waits for the same three numbers to reach the device."""
    return torch.tensor(values, device=device)[:, None, None]


def to_images_01(images: UInt8[Tensor, "batch h w 3"]) -> Float[Tensor, "batch 3 h w"]:
    return images.permute(0, 3, 1, 2).float() / 255


def make_arrays(
    images: np.ndarray, labels: np.ndarray, *, source: str, classes: int | None = None
) -> ImageArrays:
    """Check and convert one split: uint8 images [N, h, w, 3] (grey: [N, h, w] or [N, h, w, 1]) and labels.

    Raises DatasetError naming `source` and the rule.
    """
    if images.dtype != np.uint8:
        raise DatasetError(f"{source}: images must be uint8 from 0 to 255, not {images.dtype}")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise DatasetError(
            f"{source}: images must have shape [N, height, width, 3], not {list(images.shape)}"
        )
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DatasetError(
            f"{source}: labels must be integers of shape [N], not {labels.dtype} {list(labels.shape)}"
        )
    if len(images) != len(labels):
        raise DatasetError(f"{source}: {len(images)} images but {len(labels)} labels")
    if images.size == 0:
        raise DatasetError(f"{source}: there are no images, or they have no pixels: {list(images.shape)}")
    if labels.min() < 0 or (classes is not None and labels.max() >= classes):
        end = "classes" if classes is None else classes
        raise DatasetError(f"{source}: labels must be in [0, {end}), got {labels.min()} to {labels.max()}")
    if images.shape[3] == 1:
        images = np.repeat(images, 3, axis=3)
    return ImageArrays(
        torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64))
    )


def class_names(names: np.ndarray, *, source: str) -> list[str]:
    """Raises DatasetError naming `source` unless they are texts of a line, or numbers, [class]."""
    if names.ndim != 1 or names.dtype.kind not in "USiu":
        raise DatasetError(f"{source}: must be texts of shape [class], not {names.dtype} {list(names.shape)}")
    try:
        texts = [str(text) for text in (np.char.decode(names, "utf-8") if names.dtype.kind == "S" else names)]
    except (ValueError, SystemError) as error:  # bytes that are no text, numbers that are no character
        raise DatasetError(f"{source}: can't be read as texts ({error})") from error
    for text in texts:
        if len(text) > MAX_CLASS_NAME or not text.isprintable():
            raise DatasetError(
                f"{source}: {text[:20]!r} is no name of at most {MAX_CLASS_NAME} printable characters"
            )
    return texts


def read_npz(path: Path) -> tuple[ImageArrays, ImageArrays, tuple[str, ...]]:
    """Training set, test set and class names of a file with the keys train_images, train_labels,
    test_images, test_labels and, if wanted, classes. Raises DatasetError naming the file and the rule."""
    if not path.is_file():
        raise DatasetError(f"dataset.path={path} is not a file")
    keys = ("train_images", "train_labels", "test_images", "test_labels")
    arrays = read_arrays(path, keys, optional=("classes",))
    names = class_names(arrays["classes"], source=f"{path} (classes)") if "classes" in arrays else None
    labels = [arrays[f"{split}_labels"] for split in ("train", "test")]
    if names is None and all(np.issubdtype(part.dtype, np.integer) and part.size for part in labels):
        highest, images = int(max(part.max() for part in labels)), sum(part.size for part in labels)
        if highest >= images:
            raise DatasetError(f"{path}: a label of {highest} for {images} images; number the classes from 0")
        names = [str(index) for index in range(highest + 1)]
    train, test = (
        make_arrays(
            arrays[f"{split}_images"],
            arrays[f"{split}_labels"],
            source=f"{path} ({split}_images, {split}_labels)",
            classes=None if names is None else len(names),
        )
        for split in ("train", "test")
    )
    if untaught := set(test.labels.tolist()) - set(train.labels.tolist()):
        raise DatasetError(f"{path}: label {min(untaught)} of the test set never occurs in the training set")
    sizes = [list(part.images.shape[1:]) for part in (train, test)]
    if sizes[0] != sizes[1]:
        raise DatasetError(f"{path}: training images are {sizes[0]}, test images {sizes[1]}")
    return train, test, tuple(names or ())
