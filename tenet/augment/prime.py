"""PRIME: chains of deformations, colour changes and filters of maximum entropy, mixed with each other and the image."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from tenet.augment.prime_primitives import (
    ColourDraw,
    DiffeoDraw,
    FilterDraw,
    change_colours,
    deform,
    filter_spectrum,
    temperature_range,
)
from tenet.augment.views import Augmentation
from tenet.rules import above, at_least, at_most, check_arguments

WIDTH = DEPTH = 3
PRIMITIVES = ("deform", "change_colours", "filter_spectrum")


class PrimeStep(NamedTuple):
    """One step of all chains. choice: position in PRIMITIVES, or -1 past a chain's end, for each chain of each image
    (all images of the first chain, then those of the second, ...). The draws are those of the images that chose them."""

    choice: Int64[Tensor, " chains"]
    diffeo: DiffeoDraw
    colour: ColourDraw
    filter: FilterDraw


class Prime(Augmentation):
    """PRIME on the flipped and cropped image, which must be square.

    colour_cut: the highest frequency of the colour changes. colour_temperature: their largest strength.
    colour_bandwidth: how many successive frequencies they have; 0: all up to the highest.
    diffeo_cut: the highest frequency of the deformations. filter_sigma: the largest noise of the filters.
    CIFAR: 100, 0.01, 0, 100, 4; ImageNet: 500, 0.05, 20, 500, 4.

    Source: Modas et al., ECCV 2022 (arXiv 2112.13547); amodas/PRIME-augmentations.
    """

    def __init__(
        self,
        colour_cut: Annotated[int, at_least(1), at_most(1000)] = 100,
        colour_temperature: Annotated[float, above(0)] = 0.01,
        colour_bandwidth: Annotated[int, at_least(0), at_most(1000)] = 0,
        diffeo_cut: Annotated[int, at_least(3), at_most(1000)] = 100,
        filter_sigma: Annotated[float, at_least(0)] = 4.0,
        flip: bool = True,
        padding: Annotated[int, at_least(0), at_most(256)] = 4,
        clean_view: bool = False,
    ) -> None:
        check_arguments(Prime.__init__, locals())
        super().__init__(flip=flip, padding=padding, clean_view=clean_view)
        self.colour_cut, self.colour_temperature = colour_cut, colour_temperature
        self.colour_bandwidth = colour_bandwidth
        self.diffeo_cut, self.filter_sigma = diffeo_cut, filter_sigma

    def change(
        self, images: UInt8[Tensor, "batch channel h w"], *, generator: torch.Generator
    ) -> Float[Tensor, "batch channel h w"]:
        batch, channels, height, width = images.shape
        if height != width:
            raise ValueError(f"augment: PRIME needs square images, not {width}x{height}")
        # Choices are drawn on the host: how many images each primitive gets is known without waiting for the device.
        host = torch.Generator().manual_seed(
            int(torch.randint(2**62, (), generator=generator, device=generator.device))
        )
        chains = WIDTH * batch
        depths = torch.randint(1, DEPTH + 1, (chains,), generator=host)
        steps = []
        for step in range(DEPTH):
            choice = torch.randint(len(PRIMITIVES), (chains,), generator=host).masked_fill(step >= depths, -1)
            counts = [int((choice == primitive).sum()) for primitive in range(len(PRIMITIVES))]
            steps.append(self._draw_step(choice, counts, channels, height, host=host, generator=generator))
        device = generator.device
        weights = torch._sample_dirichlet(torch.ones(batch, WIDTH, device=device), generator)
        blend = torch._sample_dirichlet(torch.ones(batch, 2, device=device), generator)[:, 0]
        return mix_chains(images.float() / 255, steps, weights=weights, blend=blend)

    def _draw_step(
        self,
        choice: Int64[Tensor, " chains"],
        counts: Sequence[int],
        channels: int,
        size: int,
        *,
        host: torch.Generator,
        generator: torch.Generator,
    ) -> PrimeStep:
        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, device=generator.device)

        def uniform(highest: float) -> float:
            return highest * float(torch.rand((), generator=host))

        def beta() -> float:
            return float(torch._sample_dirichlet(torch.full((1, 2), 0.5), host)[0, 0])

        limit = int(torch.randint(3, self.diffeo_cut + 1, (), generator=host))
        cut = int(2 + beta() * (limit - 1))
        lowest, highest = temperature_range(size, cut)
        diffeo = DiffeoDraw(lowest + beta() * (highest - lowest), normal(cut, cut), normal(cut, cut))

        cut = int(torch.randint(1, self.colour_cut + 1, (), generator=host))
        first, last = 1, cut
        if self.colour_bandwidth:
            first = int(torch.randint(1, cut + 1, (), generator=host))
            last = min(first + self.colour_bandwidth, cut + 1) - 1
        temperature = uniform(self.colour_temperature)
        colour = ColourDraw(temperature, first, normal(counts[1], channels, last - first + 1))
        return PrimeStep(
            choice, diffeo, colour, FilterDraw(uniform(self.filter_sigma), normal(counts[2], 3, 3))
        )


def mix_chains(
    images: Float[Tensor, "batch channel h w"],
    steps: Sequence[PrimeStep],
    *,
    weights: Float[Tensor, "batch chain"],
    blend: Float[Tensor, "batch"],
) -> Float[Tensor, "batch channel h w"]:
    """Send each image through its chains and mix the results with it.

    weights: each chain's share of the mixture. blend: the mixture's share of the result.
    """
    chains = images.repeat(weights.shape[1], 1, 1, 1)
    for step in steps:
        primitives: Sequence[tuple[Any, NamedTuple]] = (
            (deform, step.diffeo),
            (change_colours, step.colour),
            (filter_spectrum, step.filter),
        )
        for position, (primitive, draw) in enumerate(primitives):
            ids = (step.choice == position).nonzero()[:, 0].to(images.device, non_blocking=True)
            if len(ids):
                chains = chains.index_copy(0, ids, primitive(chains[ids], draw))
    mixture = (chains.unflatten(0, (-1, len(images))) * weights.T[:, :, None, None, None]).sum(0)
    # The weights sum to 1 but for the last bits.
    return torch.lerp(images, mixture, blend[:, None, None, None]).clamp(0, 1)
