"""Which part of an image is kept, and to which size it is scaled, as torchvision's transforms do on PIL images."""

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from tenet.errors import DatasetError
from tenet.randomness import make_generator

Size: TypeAlias = tuple[int, int]  # width, height
Box: TypeAlias = tuple[
    int, int, int, int
]  # left, top, right, bottom: columns and rows in [left, right) x [top, bottom)


class Planned(NamedTuple):
    """First the box `before` is cut out, then the result is scaled to the size `scaled`, then the box `after` is cut out.

    None in place of a box: nothing is cut off.
    """

    before: Box | None
    scaled: Size
    after: Box | None

    @property
    def size(self) -> Size:
        if self.after is None:
            return self.scaled
        left, top, right, bottom = self.after
        return right - left, bottom - top


@dataclass(frozen=True)
class Crops:
    """How images are cut.

    resize: the shorter side is scaled to this number of pixels. crop: the central `crop` x `crop` pixels are kept.
    scale, ratio: for training, a box of this share of the image's area and of this ratio of width to height is scaled
    to `crop` x `crop`, as torchvision's RandomResizedCrop does; scale=None: `crop` x `crop` pixels at a random place of
    the scaled image.
    seed: of the random boxes, for training; None: the central box, as for tests.
    upright: images are first turned as their EXIF orientation says.
    """

    resize: int | None = None
    crop: int | None = None
    scale: tuple[float, float] | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    seed: int | None = None
    upright: bool = False

    def cut(self, size: Size, *, epoch: int = 0, image: int = 0, name: str = "the image") -> Planned:
        """How to cut an image. A random box depends only on (seed, epoch, image) and on the image's size.

        Raises DatasetError, which begins with `name`, if the crop does not fit.
        """
        crop = self.crop
        if self.seed is not None and crop is not None and self.scale is not None:
            box = random_resized_box(
                size, scale=self.scale, ratio=self.ratio, generator=self._draw(epoch, image)
            )
            return Planned(box, (crop, crop), None)
        width, height = (side if self.resize is None else self.resize * side // min(size) for side in size)
        if crop is None:
            return Planned(None, (width, height), None)
        if crop > min(width, height):
            raise DatasetError(
                f"{name}: {crop} pixels can't be cut out of {width} x {height}; scale it up (dataset.resize)"
            )
        if self.seed is None:
            left, top = round((width - crop) / 2), round((height - crop) / 2)
        else:
            draw = self._draw(epoch, image)
            top, left = _randint(height - crop + 1, draw), _randint(width - crop + 1, draw)
        return Planned(None, (width, height), (left, top, left + crop, top + crop))

    def _draw(self, epoch: int, image: int) -> torch.Generator:
        assert self.seed is not None
        return make_generator("cpu", seed=self.seed, purpose=f"crop/{epoch}", step=image)


def random_resized_box(
    size: Size, *, scale: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> Box:
    """A random box within an image of this size, as torchvision's RandomResizedCrop draws it.

    The box's share of the image's area is uniform in `scale`, and the logarithm of its ratio of width to height is uniform
    between the logarithms of `ratio`. After ten boxes that do not fit, the central box of the nearest ratio is taken. A
    generator in the same state gives the same box as torchvision.
    """
    width, height = size
    lowest, highest = _logarithms(ratio)
    for _ in range(10):
        area = width * height * _uniform(*scale, generator).item()
        aspect = _uniform(lowest, highest, generator).exp().item()
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = _randint(height - h + 1, generator), _randint(width - w + 1, generator)
            return left, top, left + w, top + h
    w, h = width, height
    if width / height < min(ratio):
        h = round(width / min(ratio))
    elif width / height > max(ratio):
        w = round(height * max(ratio))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


@functools.cache
def _logarithms(ratio: tuple[float, float]) -> tuple[float, float]:
    low, high = torch.tensor(ratio).log().tolist()  # in float32, as torchvision does
    return low, high


def _uniform(low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.empty(1).uniform_(low, high, generator=generator)


def _randint(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(0, count, (1,), generator=generator))
