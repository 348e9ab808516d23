"""CutMix: a box of every image is replaced by that of another one of its batch, and labels in proportion."""

from typing import Annotated, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tenet.methods.method import Batch
from tenet.mixing.mixing import DataFacts, Mixing, draw_beta, of_views, with_targets
from tenet.rules import at_least, at_most, check_arguments


class Box(NamedTuple):
    """A box [top, bottom) x [left, right) of pixels, as scalar tensors."""

    top: Tensor
    bottom: Tensor
    left: Tensor
    right: Tensor


class CutMix(Mixing):
    """One box and one permutation a batch.

    beta: the box leaves a share ~ Beta(beta, beta) of the image, before it is clipped at the borders.
    probability: of a batch to be mixed; 0.5 on CIFAR, 1 on ImageNet.
    Source: Yun et al., ICCV 2019 (arXiv 1905.04899); clovaai/CutMix-PyTorch, train.py.
    """

    mixes_labels = True

    def __init__(
        self,
        beta: Annotated[float, at_least(0.1), at_most(1000)] = 1.0,
        probability: Annotated[float, at_least(0), at_most(1)] = 0.5,
    ) -> None:
        check_arguments(CutMix.__init__, locals())
        self.beta, self.probability = float(beta), float(probability)

    def mix(self, batch: Batch, facts: DataFacts) -> Batch:
        # On the host, so that it is known without waiting for the device whether the batch is mixed.
        generator = torch.Generator().manual_seed(batch.draw("mixing").initial_seed())
        if float(torch.rand((), generator=generator)) >= self.probability:
            return batch
        share = draw_beta(self.beta, generator=generator)
        height, width = batch.images.shape[-2:]
        centre = [torch.randint(size, (), generator=generator) for size in (height, width)]
        partner = torch.randperm(len(batch.labels), generator=generator).to(batch.labels.device)
        box = cut_box(share.double(), row=centre[0], column=centre[1], size=(height, width))
        return cutmix(batch, box=box, partner=partner, num_classes=facts.num_classes)


def cut_box(share: Float[Tensor, "*draw"], *, row: Tensor, column: Tensor, size: tuple[int, int]) -> Box:
    """The box around a centre that leaves about a `share` of an image of `size` (h, w), clipped at its borders."""
    ratio = (1 - share).sqrt()
    edges = []
    for centre, length in ((row, size[0]), (column, size[1])):
        half = (length * ratio).long() // 2
        edges += [(centre - half).clamp(0, length), (centre + half).clamp(0, length)]
    return Box(*edges)


def share_left(box: Box, size: tuple[int, int]) -> Tensor:
    """The part of an image of `size` (h, w) outside of the box."""
    return 1 - (box.bottom - box.top) * (box.right - box.left) / (size[0] * size[1])


def cutmix(batch: Batch, *, box: Box, partner: Tensor, num_classes: int) -> Batch:
    """Replace the box by that of the `partner` (int64 [batch]) of each sample."""
    height, width = batch.images.shape[-2:]
    rows, columns = slice(int(box.top), int(box.bottom)), slice(int(box.left), int(box.right))
    images = batch.images.clone()
    images[..., rows, columns] = batch.images[of_views(partner, batch.views)][..., rows, columns]
    share = share_left(box, (height, width)).to(batch.labels.device, torch.float32)
    return with_targets(batch, images, partner=partner, share=share, num_classes=num_classes)
