"""IPMix: AugMix's mixture of chains, some of which mix patches and pixels with pictures of high structural complexity."""

from typing import Annotated, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from tenet.augment.augmix import OPERATORS, apply_operators, draw_operators
from tenet.augment.chosen import replace_chosen
from tenet.augment.coefficients import add, draw_coefficients, mix_pixels, multiply
from tenet.augment.frequency import to_bytes
from tenet.augment.pictures import crop_pictures, describe_pictures, load_pictures
from tenet.augment.views import Augmentation
from tenet.rules import at_least, at_most, check_arguments

Images = UInt8[Tensor, "batch channel h w"]
CHAINS = 3
# AugMix's operators without autocontrast, and two more.
IPMIX_OPERATORS = (*OPERATORS[1:], "mirror", "invert")
WAYS = ("add", "multiply", "pixels", "elements")
PATCH_SIZES = (4, 8, 16, 32)
# Multiplying may reach 1e15, whose conversion to integers is undefined.
HIGHEST = 2.0**30


class PatchDraw(NamedTuple):
    """Where and how each image is mixed with its picture.

    inside: the patch. way: position in WAYS. a, b: see `draw_coefficients`. uniform, threshold: see `mix_pixels`; one
    number for each element.
    """

    inside: Bool[Tensor, "batch 1 h w"]
    way: Int64[Tensor, " batch"]
    a: Float[Tensor, " batch"]
    b: Float[Tensor, " batch"]
    uniform: Float[Tensor, "batch channel h w"]
    threshold: Float[Tensor, " batch"]


class IPMix(Augmentation):
    """Three chains of 0 to `rounds` steps: operators on the whole image in half of them, and patches mixed with a
    picture in the others; one picture for all chains and views of an image. The images must be square.

    beta: of the mixing coefficients; 3 on CIFAR, 4 on ImageNet. severity: of the operators; 3 on CIFAR, 1 on ImageNet.
    pictures: a folder. None: fractals that this package renders, which are not the authors'.

    Mixed patches wrap modulo 256, as in the official code. Source: Huang et al., NeurIPS 2023 (arXiv 2310.04780).
    """

    def __init__(
        self,
        rounds: Annotated[int, at_least(0), at_most(20)] = 3,
        beta: Annotated[float, at_least(0.1), at_most(1000)] = 3.0,
        severity: Annotated[float, at_least(0.1), at_most(10)] = 3.0,
        pictures: str | None = None,
        flip: bool = True,
        padding: Annotated[int, at_least(0), at_most(256)] = 4,
        clean_view: bool = False,
    ) -> None:
        check_arguments(IPMix.__init__, locals())
        super().__init__(flip=flip, padding=padding, clean_view=clean_view)
        self.rounds, self.beta, self.severity = rounds, float(beta), float(severity)
        self.changes_images = rounds > 0
        self.pictures = pictures
        self.picture_source = describe_pictures(pictures)
        self._loaded: Tensor | None = None

    def change(self, images: Images, *, generator: torch.Generator) -> Float[Tensor, "batch channel h w"]:
        pictures = self._draw_pictures(images, generator=generator)
        return self._mix(images, pictures, generator=generator)

    def together(
        self, images: Images, *, views: int, generator: torch.Generator
    ) -> Float[Tensor, "views_batch channel h w"]:
        placed = self.place(images, generator=generator)
        pictures = self._draw_pictures(placed, generator=generator)
        changed = [self._mix(placed, pictures, generator=generator) for _ in range(views - 1)]
        return torch.cat([placed.float() / 255, *changed])

    def _draw_pictures(self, images: Images, *, generator: torch.Generator) -> Images:
        size = images.shape[-1]
        if images.shape[-2] != size:
            raise ValueError(f"augment: IPMix needs square images, not {size}x{images.shape[-2]}")
        if self._loaded is None:
            self._loaded = load_pictures(self.pictures, size=size, group="augment").to(images.device)
        chosen = torch.randint(
            len(self._loaded), (len(images),), generator=generator, device=generator.device
        )
        return crop_pictures(self._loaded, chosen, size=size, generator=generator)

    def _mix(
        self, images: Images, pictures: Images, *, generator: torch.Generator
    ) -> Float[Tensor, "batch channel h w"]:
        batch, device = len(images), generator.device
        chains = images.repeat(CHAINS, 1, 1, 1)
        pictures = pictures.repeat(CHAINS, 1, 1, 1)
        by_patches = torch.rand(len(chains), generator=generator, device=device) < 0.5
        counts = torch.randint(self.rounds + 1, (len(chains),), generator=generator, device=device)
        for step in range(self.rounds):
            draws = draw_operators(
                (len(chains),), severity=self.severity, generator=generator, count=len(IPMIX_OPERATORS)
            )
            patches = draw_patches(chains, beta=self.beta, generator=generator)
            is_due, before = step < counts, chains
            chains = replace_chosen(chains, is_due & ~by_patches, apply_ipmix_operators, before, *draws)
            chains = replace_chosen(chains, is_due & by_patches, patch, before, pictures, *patches)
        weights = torch._sample_dirichlet(torch.ones(batch, CHAINS, device=device), generator)
        blend = torch._sample_dirichlet(torch.ones(batch, 2, device=device), generator)[:, 0]
        return blend_chains(images, chains, weights=weights, blend=blend)


def patch(images: Images, pictures: Images, *draw: Tensor) -> Images:
    return mix_patches(images, pictures, PatchDraw(*draw))


def apply_ipmix_operators(
    images: Images,
    operators: Int64[Tensor, " batch"],
    levels: Float[Tensor, " batch"],
    signs: Float[Tensor, " batch"],
) -> Images:
    """Apply one of IPMIX_OPERATORS to each image."""
    shared = len(OPERATORS) - 1
    changed = apply_operators(images, torch.where(operators < shared, operators + 1, -1), levels, signs)
    for name, other in (("mirror", images.flip(3)), ("invert", 255 - images)):
        is_chosen = (operators == IPMIX_OPERATORS.index(name))[:, None, None, None]
        changed = torch.where(is_chosen, other, changed)
    return changed


def draw_patches(images: Images, *, beta: float, generator: torch.Generator) -> PatchDraw:
    """Squares of a random size at a random place; half of them are cut to a random rectangle."""
    batch, size, device = len(images), images.shape[-1], generator.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    sizes = torch.tensor([side for side in PATCH_SIZES if side <= size] or [size], device=device)
    side = sizes[torch.randint(len(sizes), (batch,), generator=generator, device=device)]
    # Integers uniform over a range that differs between the images.
    top, left = (uniform(2, batch) * (size - side + 1)).long()
    height, width = 2 + (uniform(2, batch) * (side - 1)).long()
    is_whole = uniform(batch) < 0.5
    height, width = torch.where(is_whole, side, height), torch.where(is_whole, side, width)
    inside = patch_mask(top, left, height, width, size=size)
    a, b = draw_coefficients(batch, beta=beta, generator=generator)
    way = torch.randint(len(WAYS), (batch,), generator=generator, device=device)
    noise = uniform(*images.shape)
    # One number for all channels of a pixel.
    by_pixel = (way == WAYS.index("pixels"))[:, None, None, None]
    return PatchDraw(inside, way, a, b, torch.where(by_pixel, noise[:, :1], noise), uniform(batch))


def patch_mask(
    top: Tensor, left: Tensor, height: Tensor, width: Tensor, *, size: int
) -> Bool[Tensor, "batch 1 h w"]:
    """Where the rectangles lie in square images."""
    axis = torch.arange(size, device=top.device)
    rows = (axis >= top[:, None]) & (axis < (top + height)[:, None])
    columns = (axis >= left[:, None]) & (axis < (left + width)[:, None])
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def mix_patches(images: Images, pictures: Images, draw: PatchDraw) -> Images:
    """Mix each image with its picture inside its patch."""
    own, other = images.float() / 255, pictures.float() / 255
    mixed = mix_pixels(own, other, uniform=draw.uniform, threshold=draw.threshold)
    for name, function in (("add", add), ("multiply", multiply)):
        mixed = replace_chosen(mixed, draw.way == WAYS.index(name), function, own, other, draw.a, draw.b)
    return torch.where(draw.inside, to_bytes((255 * mixed).clamp(-HIGHEST, HIGHEST)), images)


def blend_chains(
    images: Images,
    chains: UInt8[Tensor, "chains channel h w"],
    *,
    weights: Float[Tensor, "batch chain"],
    blend: Float[Tensor, " batch"],
) -> Float[Tensor, "batch channel h w"]:
    """Mix the chains (all images of the first chain, then of the second, ...) with each other and the images."""
    shares = weights.T[:, :, None, None, None]
    mixture = (chains.float().unflatten(0, (-1, len(images))) * shares).sum(0)
    mixed = torch.lerp(images.float(), mixture, blend[:, None, None, None])
    # The weights sum to 1 but for the last bits.
    return (mixed / 255).clamp(0, 1)
