"""Small folders of images, and the reading of whole sources."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from PIL import Image

from tenet.data import Crops, ImageBatch, Images, ImageSource, index_folder

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


def folder_of(root: Path, *, classes: Sequence[str] | None = None, **cut: int) -> Images:
    """The images in folders of classes, as tests read them, decoded in this process."""
    return Images(index_folder(root, classes=classes), Crops(**cut))


def read(source: ImageSource, *, batch_size: int) -> Iterable[ImageBatch]:
    """Every image once, in order."""
    return source.batches(torch.arange(len(source)).split(batch_size))


def read_whole(source: ImageSource, *, batch_size: int = 4) -> ImageBatch:
    images, labels = zip(*read(source, batch_size=batch_size), strict=True)
    return ImageBatch(torch.cat(images), torch.cat(labels))
