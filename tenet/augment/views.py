"""What an augmentation is, and the two plain ones: random crop with flip, and none."""

from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor


@runtime_checkable
class View(Protocol):
    """One look at a batch: uint8 images in, float32 images in [0, 1] out, on the same device."""

    def __call__(
        self, images: UInt8[Tensor, "batch channel h w"], *, generator: torch.Generator
    ) -> Float[Tensor, "batch channel h w"]: ...


@runtime_checkable
class Augmentation(Protocol):
    """An epoch shows every image once through each of the views."""

    views: tuple[View, ...]

    def compile(self, *, backend: str = "inductor") -> None:
        """Let torch.compile make few kernels of many, where there are many; the draws stay the same."""
        return


class NoAugmentation(Augmentation):
    """One view: the images as they are."""

    def __init__(self) -> None:
        self.views: tuple[View, ...] = (self._view,)

    def _view(
        self, images: UInt8[Tensor, "batch channel h w"], *, generator: torch.Generator
    ) -> Float[Tensor, "batch channel h w"]:
        check_images(images)
        return images.float() / 255


class Standard(Augmentation):
    """One view: horizontal flip with probability 1/2, then a random crop of the zero-padded image.

    Raises ValueError if `padding` is negative.
    """

    def __init__(self, flip: bool = True, padding: int = 4) -> None:
        self.flip = check_flag("flip", flip)
        self.padding = check_count("padding", padding)
        self.views: tuple[View, ...] = (self._view,)

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


def check_flag(name: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"augment.{name}={value!r} must be true or false")
    return value


def check_count(name: str, value: int, *, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"augment.{name}={value!r} must be a whole number of at least {least}")
    return value


def check_number(name: str, value: float | int, *, least: float, most: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"augment.{name}={value!r} must be a number from {least} to {most}")
    return float(value)
