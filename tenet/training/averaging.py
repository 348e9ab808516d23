"""An exponential moving average of a network's weights over the iterations of its training (EMA)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from tenet.networks import Network
from tenet.rules import at_least, below


@dataclass(frozen=True, kw_only=True)
class AveragingSettings:
    """decay: the share of the average that an iteration keeps, such as 0.999; None: there is no average."""

    decay: Annotated[float, at_least(0), below(1)] | None = None


class WeightAverage:
    """The average a of the weights w: a <- decay * a + (1 - decay) * w after the last update of each iteration.

    The first iteration copies the weights. Buffers of floating point, such as BatchNorm's running statistics, are averaged
    too, so that the average can be evaluated as it is; other buffers are copied.

    network: a network of the same architecture, which this class overwrites and which holds the average.
    Source: torch.optim.swa_utils.AveragedModel with get_ema_multi_avg_fn(decay) and use_buffers=True, which leaves other
    buffers at their first values.
    """

    def __init__(self, network: Network, *, decay: float) -> None:
        self.network, self.decay = network.eval().requires_grad_(False), decay

    @torch.no_grad()
    def update(self, network: Network, *, step: int) -> None:
        """Take in the weights of `network` after the iteration `step`, counted from 1. The host does not wait."""
        pairs = list(zip(_tensors(self.network), _tensors(network), strict=True))
        floating = [pair for pair in pairs if step > 1 and pair[0].is_floating_point()]
        averages, weights = ([pair[side] for pair in floating] for side in (0, 1))
        if averages:
            torch._foreach_lerp_(averages, weights, 1 - self.decay)
        for average, weight in pairs:
            if step == 1 or not average.is_floating_point():
                average.copy_(weight)


def _tensors(network: Network) -> Iterator[Tensor]:
    yield from network.backbone.parameters()
    yield from network.backbone.buffers()
