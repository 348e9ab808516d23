"""Images as arrays, in memory or memory-mapped, and the reader of users' own `.npz` files."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from tenet.data.source import ImageBatch, ImageSource
from tenet.errors import DatasetError
from tenet.files.arrays import read_arrays
from tenet.files.weights import checksum

MAX_CLASS_NAME = 100


@dataclass(frozen=True)
class ImageArrays(ImageSource):
    """Images in memory, on one device."""

    images: UInt8[Tensor, "image h w 3"]
    labels: Int64[Tensor, " image"]
    classes: tuple[str, ...] = ()

    def batches(self, ids: Iterable[Int64[Tensor, " _"]], *, epoch: int = 0) -> Iterator[ImageBatch]:
        for chosen in ids:
            on_device = chosen.to(self.images.device, non_blocking=True)
            yield ImageBatch(self.images[on_device], self.labels[on_device])

    def fingerprint(self) -> str:
        return checksum([self.images, self.labels, self.classes])[:16]

    def to(self, device: torch.device | str) -> "ImageArrays":
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def take(self, ids: Int64[Tensor, " chosen"]) -> "ImageArrays":
        return replace(self, images=self.images[ids], labels=self.labels[ids])


class MappedImages(ImageSource):
    """Rows of a .npy file that stay on disk until they are read.

    path: the file. array: its memory map; its leading dimensions are flattened into one dimension of images.
    labels: one for each image. rows: the part of the first dimension that belongs to this source; all by default.
    """

    def __init__(
        self,
        path: Path,
        array: UInt8[np.ndarray, "row *frame h w 3"],
        labels: Int64[Tensor, " image"],
        *,
        classes: Sequence[str] = (),
        rows: slice = slice(None),
    ) -> None:
        self.path, self.images, self.labels, self.classes = path, array[rows], labels, tuple(classes)
        self._rows = rows

    def batches(self, ids: Iterable[Int64[Tensor, " _"]], *, epoch: int = 0) -> Iterator[ImageBatch]:
        # Reshaping a memory map copies nothing. The copy below is needed: a tensor can't be a view of a read-only file.
        images = np.asarray(self.images).reshape(-1, *self.images.shape[-3:])
        for chosen in ids:
            first, last = int(chosen[0]), int(chosen[-1])
            # Reading consecutive rows as one slice is several times as fast as gathering them.
            is_slice = bool((chosen == torch.arange(first, first + len(chosen))).all())
            rows = images[first : last + 1].copy() if is_slice else images[chosen.numpy()]
            yield ImageBatch(torch.from_numpy(rows), self.labels[chosen])

    def fingerprint(self) -> str:
        """Over the file's name, size and time, which change when its content does."""
        stat = self.path.stat()
        file = [str(self.path.resolve()), stat.st_size, stat.st_mtime_ns]
        return checksum([file, self._rows.start, self._rows.stop, self.labels, self.classes])[:16]


class Splits(NamedTuple):
    """The splits of a data set. `validation` is None unless a part of the training set is held out."""

    train: ImageArrays
    validation: ImageArrays | None
    test: ImageArrays

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes


def to_images_01(images: UInt8[Tensor, "batch h w 3"]) -> Float[Tensor, "batch 3 h w"]:
    return images.permute(0, 3, 1, 2).float() / 255


def make_arrays(
    images: np.ndarray, labels: np.ndarray, *, source: str, classes: Sequence[str] | None = None
) -> ImageArrays:
    """Check one split and convert it to tensors.

    images: uint8 [N, h, w, 3]; greyscale images may be [N, h, w] or [N, h, w, 1] and are repeated to three channels.
    labels: integers [N].
    classes: the class names. If None, every label of at least 0 is accepted.
    Raises DatasetError, which names the `source` of the arrays and the violated rule.
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
    if labels.min() < 0 or (classes is not None and labels.max() >= len(classes)):
        end = "classes" if classes is None else len(classes)
        raise DatasetError(f"{source}: labels must be in [0, {end}), got {labels.min()} to {labels.max()}")
    if images.shape[3] == 1:
        images = np.repeat(images, 3, axis=3)
    return ImageArrays(
        torch.from_numpy(np.ascontiguousarray(images)),
        torch.from_numpy(labels.astype(np.int64)),
        tuple(classes or ()),
    )


def class_names(names: np.ndarray, *, source: str) -> list[str]:
    """Convert an array of class names, printable strings or integers of shape [class], to a list.

    Raises DatasetError, which names `source`, for all other arrays.
    """
    if names.ndim != 1 or names.dtype.kind not in "USiu":
        raise DatasetError(
            f"{source}: must be strings of shape [class], not {names.dtype} {list(names.shape)}"
        )
    try:
        texts = [str(text) for text in (np.char.decode(names, "utf-8") if names.dtype.kind == "S" else names)]
    except (ValueError, SystemError) as error:  # invalid UTF-8, or numbers that are not code points
        raise DatasetError(f"{source}: can't be read as strings ({error})") from error
    for text in texts:
        if len(text) > MAX_CLASS_NAME or not text.isprintable():
            raise DatasetError(
                f"{source}: {text[:20]!r} is not a name of at most {MAX_CLASS_NAME} printable characters"
            )
    return texts


def read_npz(path: Path) -> tuple[ImageArrays, ImageArrays]:
    """Read the training set and the test set from an .npz file.

    Its keys are train_images, train_labels, test_images, test_labels and, optionally, classes. Raises DatasetError,
    which names the file and the violated rule.
    """
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
            classes=names,
        )
        for split in ("train", "test")
    )
    if unknown := set(test.labels.tolist()) - set(train.labels.tolist()):
        raise DatasetError(f"{path}: label {min(unknown)} of the test set never occurs in the training set")
    sizes = [list(part.images.shape[1:]) for part in (train, test)]
    if sizes[0] != sizes[1]:
        raise DatasetError(f"{path}: training images are {sizes[0]}, test images {sizes[1]}")
    return train, test
