"""Small folders of images, and the reading of whole sources."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tenet.data import Crops, ImageBatch, Images, ImageSource, index_folder
from tenet.data.decode import decode, read_file

CLASSES = ["n01", "n02", "n10"]


def picture(value: int, size: tuple[int, int] = (6, 5)) -> Image.Image:
    """Of one colour, which JPEG keeps; size: (width, height)."""
    return Image.new("RGB", size, (value, value // 2, 255 - value))


def write_classes(folder: Path, *, offset: int = 0, images: int = 2) -> None:
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for index in range(images):
            # Named against the order in which they are written, with all three suffixes.
            suffix = ("JPEG", "png", "jpg")[index % 3]
            picture(offset + 10 * label + 2 * index).save(folder / name / f"val_{9 - index}.{suffix}")


def read_image(path: Path, *, resize: int | None = None, crop: int | None = None) -> np.ndarray:
    """The RGB pixels of an image file, cut as for tests."""
    return decode(read_file(path), name=str(path), cut=partial(Crops(resize, crop).cut, name=str(path)))


def folder_of(root: Path, *, classes: Sequence[str] | None = None, **cut: int) -> Images:
    """The images in folders of classes, as tests read them, decoded in this process."""
    return Images(index_folder(root, classes=classes), Crops(**cut))


def read(source: ImageSource, *, batch_size: int) -> Iterable[ImageBatch]:
    """Every image once, in order."""
    return source.batches(torch.arange(len(source)).split(batch_size))


def read_whole(source: ImageSource, *, batch_size: int = 4) -> ImageBatch:
    images, labels = zip(*read(source, batch_size=batch_size), strict=True)
    return ImageBatch(torch.cat(images), torch.cat(labels))
