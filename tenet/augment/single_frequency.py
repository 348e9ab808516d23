"""APR-S and HybridAugment-S: two changes of one image, recombined by phase or by frequency."""

from abc import abstractmethod
from typing import Annotated

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from tenet.augment.augmix import apply_operators, draw_operators
from tenet.augment.frequency import low_pass, recombine, to_bytes
from tenet.augment.views import Augmentation, draw_placement, place
from tenet.rules import at_least, at_most, check_arguments

Images = UInt8[Tensor, "batch channel h w"]
# The official codes pad with grey before they crop.
GREY = 128


class SingleFrequency(Augmentation):
    """One of AugMix's operators on each image; with `probability`, a second one on top of it, and the two results are
    recombined. The crop and the flip follow, as in the official codes.

    severity: upper end of the operators' levels, in [0.1, 10].
    """

    def __init__(
        self,
        severity: Annotated[float | int, at_least(0.1), at_most(10)] = 3.0,
        probability: Annotated[float, at_least(0), at_most(1)] = 0.5,
        flip: bool = True,
        padding: Annotated[int, at_least(0), at_most(256)] = 4,
        clean_view: bool = False,
    ) -> None:
        check_arguments(SingleFrequency.__init__, locals())
        super().__init__(flip=flip, padding=padding, clean_view=clean_view)
        self.severity, self.probability = float(severity), probability

    @abstractmethod
    def recombine_pair(self, first: Images, second: Images, *, generator: torch.Generator) -> Images:
        """Recombine the results of the first operator and of the second one on top of it."""

    def place(self, images: Images, *, generator: torch.Generator) -> Images:
        placement = draw_placement(len(images), flip=self.flip, padding=self.padding, generator=generator)
        return place(images, placement, padding=self.padding, fill=GREY)

    def change(self, images: Images, *, generator: torch.Generator) -> Float[Tensor, "batch channel h w"]:
        return self.change_bytes(images, generator=generator).float() / 255

    def change_bytes(self, images: Images, *, generator: torch.Generator) -> Images:
        first = self.operate(images, generator=generator)
        second = self.operate(first, generator=generator)
        both = self.recombine_pair(first, second, generator=generator)
        return torch.where(coin(images, self.probability, generator=generator), both, first)

    def operate(self, images: Images, *, generator: torch.Generator) -> Images:
        """One random operator on each image."""
        draws = draw_operators((len(images),), severity=self.severity, generator=generator)
        return apply_operators(images, *draws)

    def view(self, images: Images, *, generator: torch.Generator) -> Float[Tensor, "batch channel h w"]:
        changed = self.change_bytes(images, generator=generator)
        return self.place(changed, generator=generator).float() / 255

    def together(
        self, images: Images, *, views: int, generator: torch.Generator
    ) -> Float[Tensor, "views_batch channel h w"]:
        placement = draw_placement(len(images), flip=self.flip, padding=self.padding, generator=generator)
        changed = [self.change_bytes(images, generator=generator) for _ in range(views - 1)]
        placed = [place(view, placement, padding=self.padding, fill=GREY) for view in (images, *changed)]
        return torch.cat(placed).float() / 255


class AprSingle(SingleFrequency):
    """APR-S: the amplitude of one of the two results and the phase of the other.

    Source: Chen et al., ICCV 2021 (arXiv 2108.08487).
    """

    def recombine_pair(self, first: Images, second: Images, *, generator: torch.Generator) -> Images:
        is_first = coin(first, 0.5, generator=generator)
        return swap_phase(first, second, is_first)


class HybridSingle(SingleFrequency):
    """HybridAugment-S: the low frequencies of one of the two results and the high ones of the other.

    plus: HybridAugment++: the low frequencies go through APR-S, at least one more operator, first.
    Source: Yucel et al., ICCV 2023 (arXiv 2307.11823).
    """

    def __init__(
        self,
        plus: bool = True,
        severity: Annotated[float | int, at_least(0.1), at_most(10)] = 3.0,
        probability: Annotated[float, at_least(0), at_most(1)] = 0.5,
        flip: bool = True,
        padding: Annotated[int, at_least(0), at_most(256)] = 4,
        clean_view: bool = False,
    ) -> None:
        check_arguments(HybridSingle.__init__, locals())
        super().__init__(severity, probability, flip, padding, clean_view)
        self.plus = plus
        self._inner = AprSingle(severity, probability, flip=False, padding=0)

    def recombine_pair(self, first: Images, second: Images, *, generator: torch.Generator) -> Images:
        low_first = low_pass(first.float())
        low_second = low_pass(second.float())
        high_first, high_second = first - low_first, second - low_second
        is_first = coin(first, 0.5, generator=generator)
        low = torch.where(is_first, low_first, low_second)
        if self.plus:
            low = self._inner.change_bytes(to_bytes(low), generator=generator).float()
        return to_bytes(low + torch.where(is_first, high_second, high_first))


def swap_phase(first: Images, second: Images, is_first: Bool[Tensor, "batch 1 1 1"]) -> Images:
    """Where `is_first`, the amplitude of the first and the phase of the second; elsewhere the reverse."""
    one, other = first.float(), second.float()
    return to_bytes(
        recombine(amplitude=torch.where(is_first, one, other), phase=torch.where(is_first, other, one))
    )


def coin(images: Images, probability: float, *, generator: torch.Generator) -> Bool[Tensor, "batch 1 1 1"]:
    """True with `probability`, for each image."""
    drawn = torch.rand(len(images), 1, 1, 1, generator=generator, device=generator.device)
    return drawn < probability
