"""Cutout: a square of every image is erased."""

from dataclasses import replace
from typing import Annotated

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from tenet.methods.method import Batch
from tenet.mixing.mixing import DataFacts, Mixing
from tenet.rules import at_least, at_most, check_arguments


class Cutout(Mixing):
    """A square at a place of its own in every image, filled with the data set's mean colour: 0 after normalisation.

    length: of the square's side in pixels, clipped at the borders; an odd one loses a pixel. 16 on CIFAR-10, 8 on
    CIFAR-100.
    Source: DeVries and Taylor, arXiv 1708.04552; uoguelph-mlrg/Cutout, util/cutout.py.
    """

    def __init__(self, length: Annotated[int, at_least(2), at_most(10_000)] = 16) -> None:
        check_arguments(Cutout.__init__, locals())
        self.length = length

    def mix(self, batch: Batch, facts: DataFacts) -> Batch:
        generator = batch.draw("mixing")
        size = batch.images.shape[-2:]
        centres = [
            torch.randint(length, (len(batch.labels),), generator=generator, device=generator.device)
            for length in size
        ]
        erased = erased_squares(torch.stack(centres, 1), length=self.length, size=(size[0], size[1]))
        colour = torch.tensor(facts.mean, device=batch.images.device)[:, None, None]
        images = torch.where(erased.repeat(batch.views, 1, 1)[:, None], colour, batch.images)
        return replace(batch, images=images)


def erased_squares(
    centres: Int64[Tensor, "batch 2"], *, length: int, size: tuple[int, int]
) -> Bool[Tensor, "batch h w"]:
    """Where the squares around the centres (row, column) lie in images of `size` (h, w)."""
    half = length // 2
    masks = []
    for centre, side in zip(centres.unbind(1), size, strict=True):
        offset = torch.arange(side, device=centres.device) - centre[:, None]
        masks.append((offset >= -half) & (offset < half))
    rows, columns = masks
    return rows[:, :, None] & columns[:, None, :]
