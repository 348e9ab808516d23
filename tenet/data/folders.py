"""Images in folders, one a class: read by id and decoded in threads, a few batches ahead."""

import logging
import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from tenet.data.arrays import check_class_names
from tenet.data.decode import SUFFIXES, read_image
from tenet.data.source import ImageBatch, ImageSource
from tenet.errors import DatasetError, printable
from tenet.files.weights import checksum

MAX_BATCH_BYTES = 2**30
# Pillow releases Python's lock while it decodes; with a GPU at work, more threads gain little.
DECODERS = 8
BATCHES_AHEAD = 1
# What file managers and archivers leave behind, in addition to hidden files.
LITTER = ("thumbs.db", "desktop.ini", "__macosx", "@eadir")
logger = logging.getLogger("tenet")


class ClassFolder(ImageSource):
    """Images in a folder for each class, `<class>/**/*.JPEG` (or another of SUFFIXES), ordered by class and path.

    Hidden files are ignored; all others that are not read are counted in one warning.
    classes: the exact names of the folders, in the order of the labels; by default all folders, sorted, by number if
    all names are numbers.
    resize, crop: the shorter side is scaled to `resize` pixels and the central `crop` x `crop` pixels are kept, as
    torchvision's Resize and CenterCrop do; None: unchanged.
    size: the width and height that all images must have then; by default those of the first one.
    Raises DatasetError, which names a folder that is missing, unexpected or without images.
    """

    def __init__(
        self,
        root: str | PathLike[str],
        *,
        classes: Sequence[str] | None = None,
        resize: int | None = None,
        crop: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.root, self.resize, self.crop, self.size = Path(root), resize, crop, size
        self.classes = find_classes(self.root, expected=classes)
        self.paths: list[Path] = []
        labels: list[int] = []
        left_out: Counter[str] = Counter()
        for label, name in sorted(enumerate(self.classes), key=lambda pair: pair[1]):
            images, others = find_images(self.root / name)
            left_out += others
            if not images:
                held = f": it holds {count_kinds(others)}" if others else ""
                raise DatasetError(f"{self.root / name} holds no image{held}; unpack the images again")
            self.paths += images
            labels += [label] * len(images)
        self.labels = torch.tensor(labels)
        if left_out:
            logger.warning(
                "%s: %s images; not read: %s", printable(str(root)), f"{len(labels):,}", count_kinds(left_out)
            )

    def batches(self, ids: Iterable[Int64[Tensor, " _"]], *, epoch: int = 0) -> Iterator[ImageBatch]:
        """Yield the images of each tensor of ids; the next batch is decoded while the caller works on one.

        Raises DatasetError for an image that can't be read or that differs in size from the first of the folder.
        """
        # The size, which all images must have, determines the memory of a batch.
        height, width, _ = read_image(self.paths[0], resize=self.resize, crop=self.crop, size=self.size).shape
        # In one thread, because each thread keeps the memory that it once needed.
        large = ThreadPoolExecutor(1, thread_name_prefix="decode-large")
        read = partial(read_image, resize=self.resize, crop=self.crop, size=(width, height), large=large)
        pool = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")
        ahead: deque[tuple[Tensor, list[Future[np.ndarray]]]] = deque()

        def next_batch() -> ImageBatch:
            chosen, images = ahead.popleft()
            return ImageBatch(
                torch.from_numpy(np.stack([image.result() for image in images])), self.labels[chosen]
            )

        try:
            for chosen in ids:
                check_batch_memory(len(chosen), width=width, height=height)
                ahead.append((chosen, [pool.submit(read, self.paths[index]) for index in chosen.tolist()]))
                if len(ahead) > BATCHES_AHEAD:
                    yield next_batch()
            while ahead:
                yield next_batch()
        finally:
            # Also when the caller stops early.
            pool.shutdown(cancel_futures=True)
            large.shutdown()

    def fingerprint(self) -> str:
        """Over names, sizes and times of the files, which change when their content does."""
        files = {
            str(path.relative_to(self.root)): [(stat := path.stat()).st_size, stat.st_mtime_ns]
            for path in self.paths
        }
        settings = [str(self.root.resolve()), self.classes, self.resize, self.crop]
        return checksum([settings, files])[:16]


def find_images(folder: Path) -> tuple[list[Path], Counter[str]]:
    """The images in a folder and its subfolders, sorted by path, and how many files of each suffix are none."""
    images: list[Path] = []
    others: Counter[str] = Counter()
    # Links to folders are not followed: they may form a circle.
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_litter(name)]
        others["links to folders"] += sum(Path(place, name).is_symlink() for name in folders)
        for path in (Path(place, name) for name in files if not is_litter(name)):
            if path.suffix.lower() in SUFFIXES:
                images.append(path)
            else:
                others[path.suffix.lower() or "no suffix"] += 1
    return sorted(images), +others


def is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER


def count_kinds(others: Counter[str]) -> str:
    """Such as `3 of .gif, 1 of .txt`, at most five kinds."""
    kinds = [f"{count} of {printable(kind[:20])}" for kind, count in others.most_common()]
    return ", ".join(kinds[:5]) + (f" and {len(kinds) - 5} more kinds" if len(kinds) > 5 else "")


def find_classes(root: Path, *, expected: Sequence[str] | None = None) -> tuple[str, ...]:
    """The names of the class folders in `root`: sorted, or in the order of `expected`.

    Names that are all numbers are sorted by number, with a warning if torchvision's order is another one.
    Raises DatasetError if there are none, if they differ from the expected ones, or for a name that can't be printed.
    """
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder; unpack the images there")
    found = sorted(path.name for path in root.iterdir() if path.is_dir() and not is_litter(path.name))
    if not found:
        raise DatasetError(f"{root} holds no folders of classes; give the folder above them")
    check_class_names(found, source=str(root))
    if expected is None:
        return tuple(sort_numbers(found, source=root))
    if unknown := sorted(set(found) - set(expected)):
        raise DatasetError(f"{root / unknown[0]} is none of the {len(expected)} expected classes")
    if missing := sorted(set(expected) - set(found)):
        raise DatasetError(f"{root / missing[0]} is missing; unpack the images of all classes")
    return tuple(expected)


def sort_numbers(names: list[str], *, source: Path) -> list[str]:
    """Sorted names, by number if all of them end in one after the same text, as in `class_2`."""
    numbered = [re.fullmatch(r"(\D*)(\d{1,18})", name) for name in names]
    if len({found[1] if found else None for found in numbered}) != 1 or not all(numbered):
        return names
    by_number = sorted(names, key=lambda name: int(re.sub(r"\D", "", name)))
    if by_number != names:
        logger.warning(
            "%s: classes are ordered by number, %s; torchvision's ImageFolder orders them as text, %s",
            source, ", ".join(by_number[:3]) + " ...", ", ".join(names[:3]) + " ...",
        )  # fmt: skip
    return by_number


def check_batch_memory(images: int, *, width: int, height: int) -> None:
    held = 2 * images * height * width * 3
    if held > MAX_BATCH_BYTES:
        raise DatasetError(
            f"batch_size={images} images of {width} x {height} pixels, and as many read ahead, take "
            f"{held / 1e9:.1f} GB of memory; lower it"
        )
