"""Mixup: every image is blended with another one of its batch, and so are their labels."""

from typing import Annotated

import torch

from tenet.methods.method import Batch
from tenet.mixing.mixing import DataFacts, Mixing, draw_beta, of_views, with_targets
from tenet.rules import at_least, at_most, check_arguments


class Mixup(Mixing):
    """One share ~ Beta(alpha, alpha) and one permutation a batch.

    alpha: 1 on CIFAR, 0.2 on ImageNet. Source: Zhang et al., ICLR 2018 (arXiv 1710.09412).
    """

    mixes_labels = True

    def __init__(self, alpha: Annotated[float, at_least(0.1), at_most(1000)] = 1.0) -> None:
        check_arguments(Mixup.__init__, locals())
        self.alpha = float(alpha)

    def mix(self, batch: Batch, facts: DataFacts) -> Batch:
        generator = batch.draw("mixing")
        share = draw_beta(self.alpha, generator=generator)
        partner = torch.randperm(len(batch.labels), generator=generator, device=generator.device)
        return mixup(batch, share=share, partner=partner, num_classes=facts.num_classes)


def mixup(batch: Batch, *, share: torch.Tensor, partner: torch.Tensor, num_classes: int) -> Batch:
    """Blend with the `partner` (int64 [batch]) of each sample; `share` (scalar) is the sample's own part."""
    images = share * batch.images + (1 - share) * batch.images[of_views(partner, batch.views)]
    return with_targets(batch, images, partner=partner, share=share, num_classes=num_classes)
