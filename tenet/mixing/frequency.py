"""APR-P and HybridAugment-P: images exchange their amplitudes or their high frequencies with those of another one."""

from abc import abstractmethod
from dataclasses import replace
from typing import Annotated

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tenet.augment.frequency import low_pass, recombine
from tenet.methods.method import Batch
from tenet.mixing.mixing import DataFacts, Mixing, of_views
from tenet.rules import at_least, at_most, check_arguments

Images = Float[Tensor, "batch channel h w"]


class PairedFrequency(Mixing):
    """With `probability`, once a batch, each image is recombined with another one and keeps its label.

    A batch of one view of each sample gets the recombined images as a second view, and `cross_entropy` adds up the
    losses of both, as the official codes do. The views that JSD compares are recombined themselves.
    """

    def __init__(self, probability: Annotated[float, at_least(0), at_most(1)] = 0.6) -> None:
        check_arguments(PairedFrequency.__init__, locals())
        self.probability = probability

    @abstractmethod
    def pair(self, images: Images, *, views: int, generator: torch.Generator) -> Images:
        """Recombine each image with another one. generator: on the CPU."""

    def mix(self, batch: Batch, facts: DataFacts) -> Batch:
        # Draws on the host tell without waiting for the device what is due.
        generator = torch.Generator().manual_seed(batch.draw("mixing").initial_seed())
        is_due = float(torch.rand((), generator=generator)) <= self.probability
        paired = self.pair(batch.images, views=batch.views, generator=generator) if is_due else batch.images
        if batch.views > 1:
            return replace(batch, images=paired)
        return replace(batch, images=torch.cat([batch.images, paired]), views=2)


class Apr(PairedFrequency):
    """APR-P: the amplitude of another image. Source: Chen et al., ICCV 2021 (arXiv 2108.08487)."""

    def pair(self, images: Images, *, views: int, generator: torch.Generator) -> Images:
        return pair_amplitude(images, draw_partner(images, views, generator=generator))


class Hybrid(PairedFrequency):
    """HybridAugment-P: the high frequencies of another image.

    plus: HybridAugment++: the low frequencies go through APR-P, with a probability and a partner of their own.
    Source: Yucel et al., ICCV 2023 (arXiv 2307.11823).
    """

    def __init__(
        self, plus: bool = True, probability: Annotated[float, at_least(0), at_most(1)] = 0.6
    ) -> None:
        check_arguments(Hybrid.__init__, locals())
        super().__init__(probability)
        self.plus = plus

    def pair(self, images: Images, *, views: int, generator: torch.Generator) -> Images:
        partner = draw_partner(images, views, generator=generator)
        amplitude = None
        if self.plus and float(torch.rand((), generator=generator)) <= self.probability:
            amplitude = draw_partner(images, views, generator=generator)
        return pair_frequencies(images, high=partner, amplitude=amplitude)


def pair_amplitude(images: Images, partner: Int64[Tensor, " batch"]) -> Images:
    """The amplitudes of the partners and the images' own phases."""
    return recombine(amplitude=images[partner], phase=images)


def pair_frequencies(
    images: Images, *, high: Int64[Tensor, " batch"], amplitude: Int64[Tensor, " batch"] | None = None
) -> Images:
    """The high frequencies of the partners `high` and the images' own low ones; those with the amplitudes of other
    partners, if given."""
    low = low_pass(images)
    rest = images - low
    if amplitude is not None:
        low = pair_amplitude(low, amplitude)
    return low + rest[high]


def draw_partner(images: Images, views: int, *, generator: torch.Generator) -> Int64[Tensor, " batch"]:
    """A permutation of the samples, the same in every view."""
    permutation = torch.randperm(len(images) // views, generator=generator)
    return of_views(permutation, views).to(images.device, non_blocking=True)
