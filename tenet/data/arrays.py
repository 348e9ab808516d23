"""Images as arrays, in memory or memory-mapped, and the reader of users' own `.npz` files."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Int64, UInt8
from torch import Tensor

from tenet.data.multi_label import as_multi_label, check_shown
from tenet.data.source import ImageBatch, ImageSource
from tenet.errors import DatasetError
from tenet.files.arrays import read_arrays
from tenet.files.weights import checksum

MAX_CLASS_NAME = 100
MAX_CLASSES = 100_000  # if only the highest label tells how many there are
logger = logging.getLogger("tenet")


@dataclass(frozen=True)
class ImageArrays(ImageSource):
    """Images in memory, on one device."""

    images: UInt8[Tensor, "image h w 3"]
    labels: Int[Tensor, "image *class"]
    classes: tuple[str, ...] = ()

    def batches(self, ids: Iterable[Int64[Tensor, " _"]], *, epoch: int = 0) -> Iterator[ImageBatch]:
        for chosen in ids:
            on_device = chosen.to(self.images.device, non_blocking=True)
            yield ImageBatch(self.images[on_device], self.labels[on_device])

    def fingerprint(self) -> str:
        return checksum([self.images, self.labels, self.classes])[:16]

    @property
    def held_bytes(self) -> int:
        return self.images.nbytes + self.labels.nbytes

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


def to_images_01(images: UInt8[Tensor, "batch h w 3"]) -> Float[Tensor, "batch 3 h w"]:
    return images.permute(0, 3, 1, 2).float() / 255


def make_arrays(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    source: str,
    classes: Sequence[str] | None = None,
    multi_label: bool = False,
) -> ImageArrays:
    """Check one split and convert it to tensors.

    images: uint8 [N, h, w, 3]; greyscale images may be [N, h, w] or [N, h, w, 1] and are repeated to three channels.
    labels: integers [N], or [N, 1]; floats that are whole numbers are taken as integers. With `multi_label` [N, class],
        see `as_multi_label`.
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
    if multi_label:
        labels = as_multi_label(labels, source=source, classes=classes)
    else:
        labels = as_class_numbers(labels, source=source).astype(np.int64)
    if len(images) != len(labels):
        raise DatasetError(f"{source}: {len(images)} images but {len(labels)} labels")
    if images.size == 0:
        raise DatasetError(f"{source}: there are no images, or they have no pixels: {list(images.shape)}")
    if not multi_label and (labels.min() < 0 or (classes is not None and labels.max() >= len(classes))):
        counts_from_1 = classes is not None and (labels.min(), labels.max()) == (1, len(classes))
        remedy = "; subtract 1 from them" if counts_from_1 else ""
        end = "classes" if classes is None else len(classes)
        raise DatasetError(
            f"{source}: labels must be in [0, {end}), got {labels.min()} to {labels.max()}{remedy}"
        )
    if images.shape[3] == 1:
        images = np.repeat(images, 3, axis=3)
    return ImageArrays(
        torch.from_numpy(np.ascontiguousarray(images)),
        torch.from_numpy(labels),
        tuple(classes or ()),
    )


def as_class_numbers(labels: np.ndarray, *, source: str) -> np.ndarray:
    """Integers [N], from integers or whole floats, [N] or [N, 1]. Raises DatasetError, which names `source`."""
    numbers = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if numbers.dtype.kind == "f" and np.isfinite(numbers).all() and (numbers == np.rint(numbers)).all():
        numbers = numbers.astype(np.int64)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        is_table = labels.ndim == 2
        remedy = (
            "; take labels.argmax(axis=1) if each row has a single 1, or give dataset.multi_label=true"
            if is_table
            else ""
        )
        raise DatasetError(
            f"{source}: labels must be integers of shape [N], not {labels.dtype} {list(labels.shape)}{remedy}"
        )
    return numbers


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
    check_class_names(texts, source=source)
    return texts


def check_class_names(names: Sequence[str], *, source: str) -> None:
    """Raise DatasetError, which names `source`, for a name that can't be printed or that two classes have."""
    for name in names:
        if len(name) > MAX_CLASS_NAME or not name.isprintable():
            raise DatasetError(
                f"{source}: {name[:20]!r} is not a name of at most {MAX_CLASS_NAME} printable characters"
            )
    name, times = max(Counter(names).items(), key=lambda pair: pair[1], default=("", 0))
    if times > 1:
        raise DatasetError(f"{source}: {times} classes are named {name!r}; give each class its own name")


def read_npz(path: Path, *, multi_label: bool = False) -> tuple[ImageArrays, ImageArrays]:
    """Read the training set and the test set from an .npz file.

    Its keys are train_images, train_labels, test_images, test_labels and, optionally, classes. Without `classes`, the
    numbers that occur in train_labels are the classes, in ascending order; a warning says so unless they count from 0.
    With `multi_label`, the classes are the columns of the labels.
    Raises DatasetError, which names the file and the violated rule.
    """
    if not path.is_file():
        raise DatasetError(f"dataset.path={path} is not a file")
    keys = ("train_images", "train_labels", "test_images", "test_labels")
    arrays = read_arrays(path, keys, optional=("classes", "val_labels"))
    if "val_labels" in arrays:  # as in MedMNIST's files
        logger.warning(
            "%s: val_images and val_labels are not used; dataset.validation_fraction holds out training images",
            path,
        )
    sources = {split: f"{path} ({split}_images, {split}_labels)" for split in ("train", "test")}
    convert = as_multi_label if multi_label else as_class_numbers
    labels = {split: convert(arrays[f"{split}_labels"], source=source) for split, source in sources.items()}
    if "classes" in arrays:
        names = class_names(arrays["classes"], source=f"{path} (classes)")
    elif multi_label:
        names = [str(number) for number in range(labels["train"].shape[1])]
    else:
        names, labels = number_classes(labels, path=path)
    train, test = (
        make_arrays(
            arrays[f"{split}_images"], labels[split], source=source, classes=names, multi_label=multi_label
        )
        for split, source in sources.items()
    )
    if multi_label:
        absent = check_shown(labels, path=path)
    else:
        check_trained(labels, path=path)
        absent = sorted(set(range(len(names))) - set(labels["train"].tolist()))
    if absent:
        logger.warning(
            "%s: no training image of %d of %d classes, such as %s",
            path, len(absent), len(names), names[absent[0]],
        )  # fmt: skip
    sizes = [list(part.images.shape[1:]) for part in (train, test)]
    if sizes[0] != sizes[1]:
        raise DatasetError(f"{path}: training images are {sizes[0]}, test images {sizes[1]}")
    return train, test


def read_test_npz(path: Path, *, multi_label: bool = False) -> ImageArrays:
    """Read the test set of an .npz file. Unless its labels are `multi_label`, the file needs no training set.

    Without train_labels and `classes`, the classes are the numbers from 0 to the highest label. Raises DatasetError as
    `read_npz` does.
    """
    if multi_label or not path.is_file() or read_arrays(path, (), optional=("train_labels",)):
        return read_npz(path, multi_label=multi_label)[1]
    arrays = read_arrays(path, ("test_images", "test_labels"), optional=("classes",))
    source = f"{path} (test_images, test_labels)"
    test = make_arrays(arrays["test_images"], arrays["test_labels"], source=source)
    if "classes" in arrays:
        names = class_names(arrays["classes"], source=f"{path} (classes)")
    elif (highest := int(test.labels.max())) < MAX_CLASSES:
        names = [str(number) for number in range(highest + 1)]
    else:
        raise DatasetError(
            f"{source}: labels must be in [0, {MAX_CLASSES}), got {highest}; name the `classes`"
        )
    return make_arrays(arrays["test_images"], arrays["test_labels"], source=source, classes=names)


def number_classes(
    labels: Mapping[str, np.ndarray], *, path: Path
) -> tuple[list[str], dict[str, np.ndarray]]:
    """The names of the classes, which are the numbers that occur in the training set, and labels that count from 0."""
    numbers = np.unique(labels["train"])
    if numbers.size and numbers[0] < 0:
        raise DatasetError(f"{path}: labels must be in [0, classes), got {numbers[0]} to {numbers[-1]}")
    check_trained(labels, path=path)
    if numbers.size and numbers[-1] != len(numbers) - 1:
        logger.warning(
            "%s: the labels are not 0 to %d: they are taken as %d classes named %s; add `classes` to name them",
            path, len(numbers) - 1, len(numbers), list_some(numbers.tolist()),
        )  # fmt: skip
    return (
        [str(number) for number in numbers],
        {split: np.searchsorted(numbers, part) for split, part in labels.items()},
    )


def list_some(numbers: Sequence[int], *, limit: int = 10) -> str:
    return ", ".join(map(str, numbers[:limit])) + (f", ... {numbers[-1]}" if len(numbers) > limit else "")


def check_trained(labels: Mapping[str, np.ndarray], *, path: Path) -> None:
    if unknown := set(labels["test"].tolist()) - set(labels["train"].tolist()):
        raise DatasetError(f"{path}: label {min(unknown)} of the test set never occurs in the training set")
