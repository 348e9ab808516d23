"""Readers of images in folders: the trees of ImageNet-C and Tiny-ImageNet-C, and clean images by class."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, check_cell
from tenet.errors import DatasetError
from tenet.files.plain import check_plain

SUFFIXES = (".jpeg", ".jpg", ".png")
# Looked up in the file's header before it is decoded: a few bytes may claim any number of pixels.
MAX_PIXELS = 2**26
MAX_BATCH_BYTES = 2**33
# Pillow decodes outside of Python's lock; more threads than this gain little beside a GPU's worth of work.
DECODERS = 8


class ImageBatch(NamedTuple):
    images: UInt8[Tensor, "batch h w 3"]
    labels: Int64[Tensor, " batch"]


class ClassFolder:
    """Images in a folder for each class, `<class>/*.JPEG` (or .jpg, .png), ordered by class and file name.

    classes: the names that labels count through; by default those of the folders, sorted. Must be the same.
    resize, crop: None, or what ImageNet's clean images need: the shorter side is scaled to `resize`
    pixels and the `crop` x `crop` in the middle kept, as torchvision's Resize and CenterCrop do.
    Raises DatasetError naming the folder that is missing, unknown or without images.
    """

    def __init__(
        self,
        root: str | PathLike[str],
        *,
        classes: Sequence[str] | None = None,
        resize: int | None = None,
        crop: int | None = None,
    ) -> None:
        self.root, self.resize, self.crop = Path(root), resize, crop
        if not self.root.is_dir():
            raise DatasetError(f"{self.root} is not a folder; unpack the images there")
        found = sorted(path.name for path in self.root.iterdir() if path.is_dir() and path.name[0] != ".")
        if not found:
            raise DatasetError(f"{self.root} holds no folders of classes; give the folder above them")
        self.classes = tuple(found if classes is None else classes)
        if unknown := sorted(set(found) - set(self.classes)):
            raise DatasetError(
                f"{self.root / unknown[0]} is none of the {len(self.classes)} expected classes"
            )
        if missing := sorted(set(self.classes) - set(found)):
            raise DatasetError(f"{self.root / missing[0]} is missing; unpack the images of all classes")

    def files(self) -> list[tuple[Path, int]]:
        """Every image and its label, in order."""
        files = []
        for label, name in sorted(enumerate(self.classes), key=lambda pair: pair[1]):
            folder = self.root / name
            images = sorted(
                path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != "."
            )
            if not images:
                raise DatasetError(f"{folder} holds no .JPEG, .jpg or .png; unpack the images again")
            files += [(path, label) for path in images]
        return files

    def batches(self, *, batch_size: int) -> Iterator[ImageBatch]:
        """Every image once, in order; the last batch may be smaller.

        A few batches are in memory, however many images there are. Raises DatasetError naming an image
        that can't be read or that has another size than the first.
        """
        return decode(self.files(), batch_size=batch_size, resize=self.resize, crop=self.crop)


class FolderArchive:
    """A tree `<corruption>/<severity>/<class>/*.JPEG`, as ImageNet-C and Tiny-ImageNet-C are.

    classes: as in `ClassFolder`; the folders of all cells must be the same.
    Raises DatasetError naming the folder: one that is missing, or a class that is not everywhere.
    """

    def __init__(self, root: str | PathLike[str], *, classes: Sequence[str] | None = None) -> None:
        self.root = Path(root)
        known = CORRUPTIONS + EXTRA_CORRUPTIONS
        self.names = tuple(name for name in known if (self.root / name).is_dir())
        """The corruptions present, in the canonical order."""
        if not self.names:
            raise DatasetError(
                f"{self.root} holds no folder of a corruption; unpack the archive there, or give the folder "
                f"that holds {known[0]}"
            )
        self._cells: dict[tuple[str, int], ClassFolder] = {}
        for name in self.names:
            for severity in SEVERITIES:
                cell = ClassFolder(self.root / name / str(severity), classes=classes)
                self._cells[name, severity] = cell
                classes = cell.classes
        self.classes = cell.classes
        self._images_per_class: np.ndarray | None = None

    def batches(self, corruption: str, severity: int, *, batch_size: int) -> Iterator[ImageBatch]:
        """One cell, as `ClassFolder.batches` has it.

        Raises DatasetError for a corruption that is not there, and where a class has not as many images as
        in the cells read before; ValueError for one that does not exist.
        """
        check_cell(corruption, severity)
        if corruption not in self.names:
            raise DatasetError(
                f"{self.root / corruption} is missing; present are {', '.join(self.names)}. Unpack it too, or "
                "leave this corruption out"
            )
        cell = self._cells[corruption, severity]
        files = cell.files()
        # An archive that was unpacked in part would else be measured on fewer images, unnoticed.
        counts = np.bincount([label for _, label in files])
        if self._images_per_class is None:
            self._images_per_class = counts
        for label in np.flatnonzero(counts != self._images_per_class)[:1]:
            raise DatasetError(
                f"{cell.root / self.classes[label]} has {counts[label]} images, but other cells have "
                f"{self._images_per_class[label]} of this class; unpack the archive again"
            )
        return decode(files, batch_size=batch_size)


def decode(
    files: Sequence[tuple[Path, int]], *, batch_size: int, resize: int | None = None, crop: int | None = None
) -> Iterator[ImageBatch]:
    """The images of (path, label) in batches; what `ClassFolder.batches` promises."""
    # One image first: the others are of its size, and how much memory they take depends on it.
    height, width, _ = read_image(files[0][0], resize=resize, crop=crop).shape
    if (held := 2 * min(batch_size, len(files)) * height * width * 3) > MAX_BATCH_BYTES:
        raise DatasetError(
            f"batch_size={batch_size} images of {width} x {height} pixels, and as many read ahead, take "
            f"{held / 1e9:.1f} GB of memory; lower it"
        )
    pool = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")
    read = partial(read_image, resize=resize, crop=crop, size=(width, height))

    def submit(start: int) -> list[Future[np.ndarray]]:
        return [pool.submit(read, path) for path, _ in files[start : start + batch_size]]

    try:
        ahead = deque([submit(0)])
        for start in range(0, len(files), batch_size):
            # The next batch is decoded while the caller works on this one.
            ahead.append(submit(start + batch_size))
            images = np.stack([image.result() for image in ahead.popleft()])
            labels = [label for _, label in files[start : start + batch_size]]
            yield ImageBatch(torch.from_numpy(images), torch.tensor(labels))
    finally:
        # Also when the caller stops early.
        pool.shutdown(cancel_futures=True)


def read_image(
    path: Path, *, resize: int | None = None, crop: int | None = None, size: tuple[int, int] | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """The RGB pixels of a JPEG or PNG file. Raises DatasetError naming it if it is broken or too large, or if
    its width and height would not be `size`; that much is known before it is decoded."""
    from PIL import Image

    try:
        check_plain(path)
        with Image.open(path, formats=("JPEG", "PNG")) as file:
            scaled = file.size if resize is None else _scale(file.size, resize)
            _check_size(path, file.size, scaled=scaled, crop=crop, expected=size)
            picture = file.convert("RGB")
    except DatasetError:
        raise
    except Exception as error:  # broken bytes trip the decoders in many ways: OSError, SyntaxError, ...
        raise DatasetError(f"{path} can't be read as a JPEG or PNG image: {error}") from error
    if resize is not None:
        picture = picture.resize(scaled, Image.Resampling.BILINEAR)
    if crop is not None:
        left, top = (round((side - crop) / 2) for side in picture.size)
        picture = picture.crop((left, top, left + crop, top + crop))
    return np.array(picture)


def _scale(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """Width and height, in proportion, where the shorter side has `shorter` pixels."""
    width, height = (shorter * side // min(size) for side in size)
    return width, height


def _check_size(
    path: Path,
    size: tuple[int, int],
    *,
    scaled: tuple[int, int],
    crop: int | None,
    expected: tuple[int, int] | None,
) -> None:
    for says, (width, height) in (("has", size), ("is to become", scaled)):
        if width * height > MAX_PIXELS:
            raise DatasetError(f"{path} {says} {width} x {height} pixels, more than {MAX_PIXELS}")
    if crop is not None and crop > min(scaled):
        raise DatasetError(f"{path}: {crop} pixels can't be cut out of {scaled[0]} x {scaled[1]}")
    final = scaled if crop is None else (crop, crop)
    if expected is not None and final != expected:
        raise DatasetError(
            f"{path} has {final[0]} x {final[1]} pixels, the images before it {expected[0]} x {expected[1]}; "
            "bring them to one size"
        )
