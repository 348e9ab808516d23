"""The images that an attack may choose from: those within a radius of the original ones, in a norm, and in [0, 1]."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tenet.rules import to_number

Images = Float[Tensor, "batch channel height width"]
# One of the whole batch, or one of each image.
Generators = torch.Generator | Sequence[torch.Generator]


@dataclass(frozen=True)
class Ball(ABC):
    """All images in [0, 1] within `radius` of an original image. The radius is in units of values in [0, 1]."""

    radius: float

    def project(self, images: Images, center: Images) -> Images:
        """The images, moved into the ball around `center`, then clipped to [0, 1].

        Clipping never leaves the ball: it moves values towards `center`, which is in [0, 1].
        """
        return (center + self.shorten(images - center)).clamp(0, 1)

    def start(self, images: Images, generators: Generators) -> Images:
        """Random images of the ball around those given, uniform before they are clipped to [0, 1]."""
        return (images + self.draw(images, generators)).clamp(0, 1)

    @abstractmethod
    def shorten(self, changes: Images) -> Images:
        """The changes, no longer than the radius."""

    @abstractmethod
    def direction(self, gradients: Images) -> Images:
        """The changes of length 1 that raise a function with these gradients most; 0 where the gradient is 0."""

    @abstractmethod
    def draw(self, images: Images, generators: Generators) -> Images:
        """Changes of the images, uniform in the ball."""

    @abstractmethod
    def draw_far(self, images: Images, generators: Generators) -> Images:
        """Random changes of the images, as long as the radius."""


class LinfBall(Ball):
    """The distance is the largest change of any channel of any pixel."""

    def shorten(self, changes: Images) -> Images:
        return changes.clamp(-self.radius, self.radius)

    def direction(self, gradients: Images) -> Images:
        return gradients.sign()

    def draw(self, images: Images, generators: Generators) -> Images:
        return self.radius * (2 * draw_like(images, torch.rand, generators) - 1)

    def draw_far(self, images: Images, generators: Generators) -> Images:
        noise = 2 * draw_like(images, torch.rand, generators) - 1
        return self.radius * noise / noise.abs().amax(dim=(1, 2, 3), keepdim=True)


class L2Ball(Ball):
    """The distance is the Euclidean length of the change of an image."""

    def shorten(self, changes: Images) -> Images:
        return changes * (self.radius / length_of(changes)).clamp(max=1)

    def direction(self, gradients: Images) -> Images:
        return gradients / length_of(gradients)

    def draw(self, images: Images, generators: Generators) -> Images:
        # The volume within a distance is proportional to distance ** dimensions.
        dimensions = images[0].numel()
        share = draw_like(images[:, :1, :1, :1], torch.rand, generators) ** (1 / dimensions)
        return share * self.draw_far(images, generators)

    def draw_far(self, images: Images, generators: Generators) -> Images:
        return self.radius * self.direction(draw_like(images, torch.randn, generators))


BALLS: dict[str, type[Ball]] = {"linf": LinfBall, "l2": L2Ball}


def make_ball(norm: str, radius: int | float | str, *, step_size: int | float | str = 0) -> Ball:
    """The ball of a norm of BALLS. step_size: that of the attack, which is checked, too.

    Raises ValueError for a radius or a step size in the norm linf that is larger than 1.
    """
    for name, value, usual in (("radius", radius, "8/255"), ("step_size", step_size, "2/255")):
        if norm == "linf" and to_number(value) > 1:
            raise ValueError(f"{name}={value} must be at most 1, because images are in [0, 1]; write {usual}")
    return BALLS[norm](to_number(radius))


def length_of(changes: Images) -> Float[Tensor, "batch 1 1 1"]:
    """The Euclidean length by image; at least 1e-12, so that it can be divided by."""
    return changes.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None, None]


def replace_where(flags: Bool[Tensor, " batch"], new: Tensor, old: Tensor) -> Tensor:
    """For each image, `new` where the flag is set, otherwise `old`: images, or one value of each, [batch, 1, 1, 1]."""
    return torch.where(flags[:, None, None, None], new, old)


def draw_like(images: Tensor, sample: Callable[..., Tensor], generators: Generators) -> Tensor:
    """What `sample` (torch.rand or torch.randn) draws, of the images' shape, type and device."""
    kinds: dict[str, Any] = {"dtype": images.dtype, "device": images.device}
    if isinstance(generators, Sequence):
        return torch.stack([sample(images.shape[1:], generator=one, **kinds) for one in generators])
    return sample(images.shape, generator=generators, **kinds)
