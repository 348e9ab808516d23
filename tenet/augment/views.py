"""Views of images, and the two simplest augmentations: none, and a random crop with a flip."""

from abc import ABC, abstractmethod
from typing import Annotated, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from tenet.rules import at_least, at_most, check_arguments


@runtime_checkable
class View(Protocol):
    """Maps a batch of uint8 images to float32 images in [0, 1], on the same device."""

    def __call__(
        self, images: UInt8[Tensor, "batch channel h w"], *, generator: torch.Generator
    ) -> Float[Tensor, "batch channel h w"]: ...


class Augmentation(ABC):
    """Random changes of single images: first a flip and a crop (`place`), then the subclass's own change (`change`).

    The objective decides how they are used. For most objectives, an epoch shows every image once through each of the
    `views`, shuffled with those of all other images. JSD needs several views of a sample in one batch (`together`).

    flip: flip each image left to right with probability 1/2. padding: zeros around the image before the random crop.
    clean_view: whether the placed image alone is a view too.
    """

    changes_images = True
    """Whether `change` does more than convert; if not, several views of a sample would be equal."""
    overlaps: tuple[str, ...] = ()
    """The benchmark's corruptions that the augmentation shows the network in training."""
    picture_source: str = ""
    """Where the pictures that it mixes into the images come from, for reports; empty if it mixes none."""

    def __init__(self, *, flip: bool, padding: int, clean_view: bool = False) -> None:
        self.flip, self.padding, self.clean_view = flip, padding, clean_view

    @property
    def views(self) -> tuple[View, ...]:
        return (self.view, self.clean) if self.clean_view else (self.view,)

    def place(
        self, images: UInt8[Tensor, "batch channel h w"], *, generator: torch.Generator
    ) -> UInt8[Tensor, "batch channel h w"]:
        check_images(images)
        return flip_and_crop(images, flip=self.flip, padding=self.padding, generator=generator)

    @abstractmethod
    def change(
        self, images: UInt8[Tensor, "batch channel h w"], *, generator: torch.Generator
    ) -> Float[Tensor, "batch channel h w"]:
        """Change placed images, and convert them."""

    def view(
        self, images: UInt8[Tensor, "batch channel h w"], *, generator: torch.Generator
    ) -> Float[Tensor, "batch channel h w"]:
        return self.change(self.place(images, generator=generator), generator=generator)

    def clean(
        self, images: UInt8[Tensor, "batch channel h w"], *, generator: torch.Generator
    ) -> Float[Tensor, "batch channel h w"]:
        return self.place(images, generator=generator).float().div_(255)

    def together(
        self, images: UInt8[Tensor, "batch channel h w"], *, views: int, generator: torch.Generator
    ) -> Float[Tensor, "views_batch channel h w"]:
        """The placed images, then `views - 1` independent changes of them: [views * batch, channel, h, w]."""
        placed = self.place(images, generator=generator)
        changed = [self.change(placed, generator=generator) for _ in range(views - 1)]
        return torch.cat([placed.float() / 255, *changed])

    def compile(self, *, backend: str = "inductor") -> None:
        """Compile the changes with torch.compile, if they consist of many kernels; the draws stay the same."""
        return


class NoAugmentation(Augmentation):
    """One view: the images as they are."""

    changes_images = False

    def __init__(self) -> None:
        super().__init__(flip=False, padding=0)

    def place(
        self, images: UInt8[Tensor, "batch channel h w"], *, generator: torch.Generator
    ) -> UInt8[Tensor, "batch channel h w"]:
        check_images(images)
        return images

    def change(
        self, images: UInt8[Tensor, "batch channel h w"], *, generator: torch.Generator
    ) -> Float[Tensor, "batch channel h w"]:
        return images.float().div_(255)


class Standard(Augmentation):
    """One view: horizontal flip with probability 1/2, then a random crop of the zero-padded image.

    `padding` is in [0, 256]. Raises ValueError for a value out of range.
    """

    changes_images = False

    def __init__(self, flip: bool = True, padding: Annotated[int, at_least(0), at_most(256)] = 4) -> None:
        check_arguments(Standard.__init__, locals())
        super().__init__(flip=flip, padding=padding)

    def change(
        self, images: UInt8[Tensor, "batch channel h w"], *, generator: torch.Generator
    ) -> Float[Tensor, "batch channel h w"]:
        return images.float().div_(255)


class Placement(NamedTuple):
    """Where each image of a batch is cropped, and whether it is flipped.

    offsets: of rows and columns in the padded image. flipped: None if no image may be.
    """

    offsets: Int64[Tensor, "2 batch 1"]
    flipped: Bool[Tensor, "batch 1"] | None


def draw_placement(batch: int, *, flip: bool, padding: int, generator: torch.Generator) -> Placement:
    """Offsets uniform over all that fit; a flip with probability 1/2."""
    device = generator.device
    offsets = torch.randint(2 * padding + 1, (2, batch, 1), generator=generator, device=device)
    if not flip:
        return Placement(offsets, None)
    return Placement(offsets, torch.randint(2, (batch, 1), generator=generator, device=device).bool())


def place(
    images: UInt8[Tensor, "batch channel h w"], placement: Placement, *, padding: int, fill: int = 0
) -> UInt8[Tensor, "batch channel h w"]:
    """Flip, pad with `padding` pixels of the value `fill` on every side, and cut the image's own size out again."""
    if padding == 0:
        if placement.flipped is None:
            return images
        return torch.where(placement.flipped[:, :, None, None], images.flip(3), images)
    channels, height, width = images.shape[1:]
    padded = F.pad(images, (padding,) * 4, value=fill)
    rows = placement.offsets[0] + torch.arange(height, device=images.device)
    columns = placement.offsets[1] + torch.arange(width, device=images.device)
    if placement.flipped is not None:
        # The padding is symmetric: a mirrored column of the padded image is one of the mirrored image.
        columns = torch.where(placement.flipped, width + 2 * padding - 1 - columns, columns)
    pixels = rows[:, :, None] * padded.shape[3] + columns[:, None, :]
    cut = padded.flatten(2).gather(2, pixels.flatten(1)[:, None].expand(-1, channels, -1))
    return cut.view(images.shape)


def flip_and_crop(
    images: UInt8[Tensor, "batch channel h w"], *, flip: bool, padding: int, generator: torch.Generator
) -> UInt8[Tensor, "batch channel h w"]:
    """Flip each image left to right with probability 1/2, pad it with `padding` zeros on every side, and
    cut its own size out again at an offset uniform over all that fit.
    """
    placement = draw_placement(len(images), flip=flip, padding=padding, generator=generator)
    return place(images, placement, padding=padding)


def check_images(images: Tensor) -> None:
    """Raise TypeError unless `images` is uint8, and ValueError unless it is [batch, 1 or 3, h, w].

    Images already in [0, 1] would otherwise turn black without a word.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images of type {images.dtype} can't be augmented; pass uint8 values from 0 to 255")
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images of shape {tuple(images.shape)}: must be [batch, 1 or 3, h, w]")
