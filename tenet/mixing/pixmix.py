"""PixMix: images are mixed, in several rounds, with pictures of high structural complexity."""

from dataclasses import replace
from typing import Annotated, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from tenet.augment.augmix import OPERATORS, draw_operators
from tenet.augment.chosen import replace_chosen
from tenet.augment.coefficients import add, draw_coefficients, multiply
from tenet.augment.enhance import ALL_OPERATORS, OVERLAPS, apply_any_operator
from tenet.augment.pictures import crop_pictures, describe_pictures, load_pictures
from tenet.methods.method import Batch
from tenet.mixing.mixing import DataFacts, Mixing
from tenet.rules import at_least, at_most, check_arguments


class PixMixRound(NamedTuple):
    """One round for a batch; a row of `operators`, `levels` and `signs` changes a fresh copy of the image.

    is_active: whether the image still takes part. with_picture: whether it is mixed with its picture, or with the changed
    copy. by_adding: or by multiplying. a, b: see `draw_coefficients`.
    """

    is_active: Bool[Tensor, " batch"]
    with_picture: Bool[Tensor, " batch"]
    by_adding: Bool[Tensor, " batch"]
    operators: Int64[Tensor, " batch"]
    levels: Float[Tensor, " batch"]
    signs: Float[Tensor, " batch"]
    a: Float[Tensor, " batch"]
    b: Float[Tensor, " batch"]


class PixMix(Mixing):
    """0 to `rounds` rounds for each image, which begin from the image or from a changed copy; labels stay.

    beta: of the coefficients; 3 on CIFAR, 4 on ImageNet. severity: of the changes; 3 on CIFAR, 1 on ImageNet.
    all_operators: whether the changes include colour, contrast, brightness and sharpness, which overlap with the
    benchmark's corruptions; the paper's runs have them.
    pictures: a folder. None: fractals that this package renders, which are not the authors'.

    Source: Hendrycks et al., CVPR 2022 (arXiv 2112.05135); andyzoujm/pixmix.
    """

    is_alike_in_views = False

    def __init__(
        self,
        rounds: Annotated[int, at_least(0), at_most(20)] = 4,
        beta: Annotated[float, at_least(0.1), at_most(1000)] = 3.0,
        severity: Annotated[float, at_least(0.1), at_most(10)] = 3.0,
        all_operators: bool = True,
        pictures: str | None = None,
    ) -> None:
        check_arguments(PixMix.__init__, locals())
        self.rounds, self.beta, self.severity = rounds, float(beta), float(severity)
        self.operators = len(ALL_OPERATORS if all_operators else OPERATORS)
        self.overlaps = OVERLAPS if all_operators else ()
        self.pictures = pictures
        self.picture_source = describe_pictures(pictures)
        self._loaded: Tensor | None = None

    def mix(self, batch: Batch, facts: DataFacts) -> Batch:
        generator, size = batch.draw("mixing"), batch.images.shape[-1]
        if self._loaded is None:
            self._loaded = load_pictures(self.pictures, size=size, group="mixing").to(batch.images.device)
        images = (255 * batch.images).round().clamp(0, 255).byte()
        chosen = torch.randint(
            len(self._loaded), (len(images),), generator=generator, device=generator.device
        )
        pictures = crop_pictures(self._loaded, chosen, size=size, generator=generator)
        start, *rounds = (self._draw_round(len(images), generator=generator) for _ in range(self.rounds + 1))
        counts = torch.randint(self.rounds + 1, (len(images),), generator=generator, device=generator.device)
        active = [one._replace(is_active=position < counts) for position, one in enumerate(rounds)]
        return replace(batch, images=pixmix(images, pictures, start, active))

    def _draw_round(self, batch: int, *, generator: torch.Generator) -> PixMixRound:
        def coin() -> Tensor:
            return torch.rand(batch, generator=generator, device=generator.device) < 0.5

        operators, levels, signs = draw_operators(
            (batch,), severity=self.severity, generator=generator, count=self.operators
        )
        a, b = draw_coefficients(batch, beta=self.beta, generator=generator)
        return PixMixRound(
            is_active=coin(),
            with_picture=coin(),
            by_adding=coin(),
            operators=operators,
            levels=levels,
            signs=signs,
            a=a,
            b=b,
        )


def pixmix(
    images: UInt8[Tensor, "batch 3 h w"],
    pictures: UInt8[Tensor, "batch 3 h w"],
    start: PixMixRound,
    rounds: list[PixMixRound],
) -> Float[Tensor, "batch 3 h w"]:
    """Mix images in [0, 1]. start: its changes are where an image begins, if it is active in it."""

    def changed(others: Tensor, chosen: Tensor, draws: PixMixRound) -> Tensor:
        inputs = (images, draws.operators, draws.levels, draws.signs)
        return replace_chosen(others, chosen, apply_any_operator, *inputs).float() / 255

    mixed = changed(images, start.is_active, start)
    for draws in rounds:
        other = changed(pictures, draws.is_active & ~draws.with_picture, draws)
        inputs = (mixed, other, draws.a, draws.b)
        for chosen, mix in ((draws.by_adding, add), (~draws.by_adding, multiply)):
            mixed = replace_chosen(mixed, draws.is_active & chosen, mix, *inputs)
        mixed = mixed.clamp(0, 1)
    return mixed
