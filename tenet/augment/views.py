"""Views of images, and the two simplest augmentations: none, and a random crop with a flip."""

from abc import ABC, abstractmethod
from typing import Annotated, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from tenet.rules import at_least, at_most, check_arguments


@runtime_checkable
class View(Protocol):
    """Maps a batch of uint8 images to float32 images in [0, 1], on the same device."""

    def __call__(
        self, images: UInt8[Tensor, "batch channel h w"], *, generator: torch.Generator
    ) -> Float[Tensor, "batch channel h w"]: ...


class Augmentation(ABC):
    """An epoch shows every image once through each of the `views`, which the constructor sets."""

    views: tuple[View, ...]

    @abstractmethod
    def __init__(self) -> None: ...

    def compile(self, *, backend: str = "inductor") -> None:
        """Compile the views with torch.compile, if they consist of many kernels; the draws stay the same."""
        return


class NoAugmentation(Augmentation):
    """One view: the images as they are."""

    def __init__(self) -> None:
        self.views = (self._view,)

    def _view(
        self, images: UInt8[Tensor, "batch channel h w"], *, generator: torch.Generator
    ) -> Float[Tensor, "batch channel h w"]:
        check_images(images)
        return images.float() / 255


class Standard(Augmentation):
    """One view: horizontal flip with probability 1/2, then a random crop of the zero-padded image.

    `padding` is in [0, 256]. Raises ValueError for a value out of range.
    """

    def __init__(self, flip: bool = True, padding: Annotated[int, at_least(0), at_most(256)] = 4) -> None:
        check_arguments(Standard.__init__, locals())
        self.flip = flip
        self.padding = padding
        self.views = (self._view,)

    def _view(
        self, images: UInt8[Tensor, "batch channel h w"], *, generator: torch.Generator
    ) -> Float[Tensor, "batch channel h w"]:
        check_images(images)
        return flip_and_crop(images, flip=self.flip, padding=self.padding, generator=generator).float() / 255


def flip_and_crop(
    images: UInt8[Tensor, "batch channel h w"], *, flip: bool, padding: int, generator: torch.Generator
) -> UInt8[Tensor, "batch channel h w"]:
    """Flip each image left to right with probability 1/2, pad it with `padding` zeros on every side, and
    cut its own size out again at an offset uniform over all that fit.
    """
    batch, channels, height, width = images.shape
    device = images.device
    padded = F.pad(images, (padding,) * 4)
    offsets = torch.randint(2 * padding + 1, (2, batch, 1), generator=generator, device=device)
    rows = offsets[0] + torch.arange(height, device=device)
    columns = offsets[1] + torch.arange(width, device=device)
    if flip:
        flipped = torch.randint(2, (batch, 1), generator=generator, device=device).bool()
        # The padding is symmetric: a mirrored column of the padded image is one of the mirrored image.
        columns = torch.where(flipped, width + 2 * padding - 1 - columns, columns)
    pixels = rows[:, :, None] * padded.shape[3] + columns[:, None, :]
    cut = padded.flatten(2).gather(2, pixels.flatten(1)[:, None].expand(-1, channels, -1))
    return cut.view(images.shape)


def check_images(images: Tensor) -> None:
    """Raise TypeError unless `images` is uint8, and ValueError unless it is [batch, 1 or 3, h, w].

    Images already in [0, 1] would otherwise turn black without a word.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images of type {images.dtype} can't be augmented; pass uint8 values from 0 to 255")
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images of shape {tuple(images.shape)}: must be [batch, 1 or 3, h, w]")
