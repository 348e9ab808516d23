"""AugMix: chains of simple operators, mixed with each other and with the image.

Drawing and applying are apart: `draw_mixing` makes every random choice, `mix` is a plain function of the
images and the choices, without a loop over samples.

Source: Hendrycks et al., arXiv 1912.02781, section 3; google-research/augmix, cifar.py and augmentations.py.
"""

from typing import Annotated, NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from tenet.augment.operators import (
    affine_matrices,
    autocontrast_tables,
    equalize_tables,
    look_up,
    point_tables,
    resample,
)
from tenet.augment.views import Augmentation
from tenet.rules import at_least, at_most, check_arguments

OPERATORS = (
    "autocontrast",
    "equalize",
    "posterize",
    "rotate",
    "solarize",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
NO_OPERATOR = -1
LOWEST_LEVEL, HIGHEST_LEVEL = 0.1, 10.0
DEEPEST_RANDOM_CHAIN = 3


class AugMixDraws(NamedTuple):
    """Every random choice AugMix makes for a batch.

    `operators`: positions in OPERATORS, or NO_OPERATOR past a chain's end. `levels`: strength, in
    [0.1, severity]. `signs`: -1 or 1, the direction where the operator has one. `chain_weights`: each chain's
    share of the mixture, summing to 1. `mixture_weights`: the mixture's share of the result, in [0, 1].
    """

    operators: Int64[Tensor, "batch width depth"]
    levels: Float[Tensor, "batch width depth"]
    signs: Float[Tensor, "batch width depth"]
    chain_weights: Float[Tensor, "batch width"]
    mixture_weights: Float[Tensor, "batch"]


class AugMix(Augmentation):
    """AugMix on the flipped and cropped image. As in TENET training, the image alone is a view of its own (unless
    `clean_view` is off); with JSD, a batch holds it together with two mixtures.

    severity: upper end of the level of every operator, in [0.1, 10].
    width: number of chains. depth: operators per chain, or 0 for 1 to 3 at random.
    alpha: concentration, in [0.1, 1000], of the Dirichlet weights of the chains and of the Beta weight of
    their mixture. Raises ValueError for a value out of range.
    """

    def __init__(
        self,
        severity: Annotated[float | int, at_least(0.1), at_most(10)] = 3.0,
        width: Annotated[int, at_least(1), at_most(100)] = 3,
        depth: Annotated[int, at_least(0), at_most(100)] = 0,
        # Below 0.1, whole draws of the sampler would underflow in float32.
        alpha: Annotated[float | int, at_least(0.1), at_most(1000)] = 1.0,
        flip: bool = True,
        padding: Annotated[int, at_least(0), at_most(256)] = 4,
        clean_view: bool = True,
    ) -> None:
        check_arguments(AugMix.__init__, locals())
        self.severity = float(severity)
        self.alpha = float(alpha)
        self.width = width
        self.depth = depth
        super().__init__(flip=flip, padding=padding, clean_view=clean_view)
        self._mix = mix

    def compile(self, *, backend: str = "inductor") -> None:
        # Each view's share of a batch has a size of its own in every step: one form for all.
        self._mix = torch.compile(mix, dynamic=True, backend=backend)

    def change(
        self, images: UInt8[Tensor, "batch channel h w"], *, generator: torch.Generator
    ) -> Float[Tensor, "batch channel h w"]:
        mixing = draw_mixing(
            len(images),
            severity=self.severity,
            width=self.width,
            depth=self.depth,
            alpha=self.alpha,
            generator=generator,
        )
        return self._mix(images, mixing=mixing)


def draw_mixing(
    batch: int, *, severity: float, width: int, depth: int, alpha: float, generator: torch.Generator
) -> AugMixDraws:
    """Make AugMix's choices for `batch` images, on the generator's device; the meanings are AugMix's."""
    device = generator.device
    steps = (batch, width, depth or DEEPEST_RANDOM_CHAIN)
    operators = torch.randint(len(OPERATORS), steps, generator=generator, device=device)
    if depth == 0:
        depths = torch.randint(
            1, DEEPEST_RANDOM_CHAIN + 1, (batch, width, 1), generator=generator, device=device
        )
        past_end = torch.arange(DEEPEST_RANDOM_CHAIN, device=device) >= depths
        operators = operators.masked_fill(past_end, NO_OPERATOR)
    uniform = torch.rand(steps, generator=generator, device=device)
    # torch.distributions takes no generator; this is the sampler underneath it. Beta is Dirichlet over two.
    chain_weights = torch._sample_dirichlet(torch.full((batch, width), alpha, device=device), generator)
    beta = torch._sample_dirichlet(torch.full((batch, 2), alpha, device=device), generator)
    return AugMixDraws(
        operators=operators,
        levels=LOWEST_LEVEL + (severity - LOWEST_LEVEL) * uniform,
        signs=torch.randint(2, steps, generator=generator, device=device) * 2.0 - 1,
        chain_weights=chain_weights,
        mixture_weights=beta[:, 0],
    )


def mix(
    images: UInt8[Tensor, "batch channel h w"], *, mixing: AugMixDraws
) -> Float[Tensor, "batch channel h w"]:
    """Send each image through its chains and mix the results with it; values in [0, 1].

    All chains of all images take a step together. Every step looks up and resamples every image, by the
    identity where its operator does the other, so that nothing waits for what was drawn.
    """
    width, depth = mixing.operators.shape[1:]
    # [batch, width, depth] -> [depth, batch * width]
    operators, levels, signs = (drawn.flatten(0, 1).T for drawn in mixing[:3])
    height, image_width = images.shape[2:]
    tables, matrices = drawn_maps(operators, levels=levels, signs=signs, size=(height, image_width))
    chains = images[:, None].expand(-1, width, -1, -1, -1).flatten(0, 1)
    for step in range(depth):
        chains = look_up(chains, tables=step_tables(chains, operators=operators[step], drawn=tables[step]))
        chains = resample(chains, matrices=matrices[step])
    # Sums written out, not matrix products: those would lose digits under TF32 or autocast.
    mixture = (chains.unflatten(0, (-1, width)) * mixing.chain_weights[:, :, None, None, None]).sum(1)
    mixed = torch.lerp(images.float(), mixture, mixing.mixture_weights[:, None, None, None])
    # The weights sum to 1 but for the last bits.
    return (mixed / 255).clamp(0, 1)


def draw_operators(
    shape: tuple[int, ...], *, severity: float, generator: torch.Generator, count: int = len(OPERATORS)
) -> tuple[Int64[Tensor, "*shape"], Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """Operators, levels and signs for single steps, as AugMix draws them. count: of the operators to choose from."""
    device = generator.device
    operators = torch.randint(count, shape, generator=generator, device=device)
    uniform = torch.rand(shape, generator=generator, device=device)
    signs = torch.randint(2, shape, generator=generator, device=device) * 2.0 - 1
    return operators, LOWEST_LEVEL + (severity - LOWEST_LEVEL) * uniform, signs


def apply_operators(
    images: UInt8[Tensor, "batch channel h w"],
    operators: Int64[Tensor, "batch"],
    levels: Float[Tensor, "batch"],
    signs: Float[Tensor, "batch"],
) -> UInt8[Tensor, "batch channel h w"]:
    """Apply one operator to each image."""
    height, width = images.shape[2:]
    tables, matrices = drawn_maps(operators, levels=levels, signs=signs, size=(height, width))
    images = look_up(images, tables=step_tables(images, operators=operators, drawn=tables))
    return resample(images, matrices=matrices)


def drawn_maps(
    operators: Int64[Tensor, "*step"],
    *,
    levels: Float[Tensor, "*step"],
    signs: Float[Tensor, "*step"],
    size: tuple[int, int],
) -> tuple[UInt8[Tensor, "*step 256"], Float[Tensor, "*step 2 3"]]:
    """The tables and affine matrices that depend on the draw alone, the identity in the other operators'
    steps. A level of 10 is the operator's largest change; whole degrees, pixels, bits and values are cut off.
    """

    def at(operator: str, parameter: Tensor, otherwise: int) -> Tensor:
        return parameter.masked_fill(operators != OPERATORS.index(operator), otherwise)

    height, width = size
    share = levels / HIGHEST_LEVEL
    tables = point_tables(
        bits=at("posterize", 4 - (share * 4).long(), 8),
        threshold=at("solarize", 256 - (share * 256).long(), 256),
    )
    matrices = affine_matrices(
        degrees=at("rotate", signs * (share * 30).trunc(), 0),
        shear_x=at("shear_x", signs * (share * 0.3), 0),
        shear_y=at("shear_y", signs * (share * 0.3), 0),
        translate_x=at("translate_x", signs * (share * (width / 3)).trunc(), 0),
        translate_y=at("translate_y", signs * (share * (height / 3)).trunc(), 0),
        size=size,
    )
    return tables, matrices


def step_tables(
    images: UInt8[Tensor, "batch channel h w"],
    *,
    operators: Int64[Tensor, "batch"],
    drawn: UInt8[Tensor, "batch 256"],
) -> UInt8[Tensor, "batch channel 256"]:
    """The `drawn` tables, replaced where the operator takes its table from the image."""
    operators = operators[:, None, None]
    stretched, spread = operators == OPERATORS.index("autocontrast"), operators == OPERATORS.index("equalize")
    tables = torch.where(stretched, autocontrast_tables(images), drawn[:, None])
    return torch.where(spread, equalize_tables(images), tables)
