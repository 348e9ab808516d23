"""Densely connected networks for 32x32 images (Huang et al. 2017, arXiv 1608.06993)."""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenet.networks.initialization import initialize
from tenet.rules import above, at_least, at_most

# Channels of a bottleneck's 1x1 convolution, in units of the growth.
BOTTLENECK_WIDTH = 4


class DenseLayer(nn.Module):
    """BatchNorm, ReLU and a 3x3 convolution, whose result is appended to the channels of the input."""

    def __init__(self, channels: int, *, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, growth, 3, padding=1, bias=False)

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch _ h w"]:
        return torch.cat([x, self.conv1(F.relu(self.bn1(x), inplace=True))], dim=1)


class BottleneckDenseLayer(nn.Module):
    """A dense layer whose 3x3 convolution sees the input reduced to few channels by a 1x1 convolution."""

    def __init__(self, channels: int, *, growth: int) -> None:
        super().__init__()
        width = BOTTLENECK_WIDTH * growth
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, growth, 3, padding=1, bias=False)

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch _ h w"]:
        reduced = self.conv1(F.relu(self.bn1(x), inplace=True))
        return torch.cat([x, self.conv2(F.relu(self.bn2(reduced), inplace=True))], dim=1)


class Transition(nn.Module):
    """BatchNorm, ReLU, a 1x1 convolution and average pooling to half the size."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 1, bias=False)

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch _ _ _"]:
        return F.avg_pool2d(self.conv1(F.relu(self.bn1(x), inplace=True)), 2)


class DenseNet(nn.Module):
    """DenseNet with three dense blocks (dense1, dense2, dense3) and two transitions (trans1, trans2) between them.

    depth: of the whole network. growth: channels that each layer adds. bottleneck: whether layers reduce their input
    first. compression: the share of the channels that a transition keeps, in (0, 1].
    depth=40, growth=12 without bottleneck and compression is the DenseNet of AugMix's code; depth=100, growth=12,
    bottleneck=true, compression=0.5 is the DenseNet-BC of the papers.
    Raises ValueError unless depth is 4 more than a multiple of 3, of 6 with bottleneck.

    The modules have the names of AugMix's checkpoints.
    """

    def __init__(
        self,
        num_classes: int,
        depth: Annotated[int, at_least(7), at_most(2000)] = 40,
        growth: Annotated[int, at_least(1), at_most(1024)] = 12,
        bottleneck: bool = False,
        compression: Annotated[float, above(0), at_most(1)] = 1.0,
    ) -> None:
        super().__init__()
        unit = 6 if bottleneck else 3
        if depth < 4 + unit or (depth - 4) % unit:
            raise ValueError(
                f"depth={depth} must be 4 more than a multiple of {unit}: {4 + unit}, {4 + 2 * unit}, ..."
            )
        layer = BottleneckDenseLayer if bottleneck else DenseLayer
        channels = 2 * growth
        self.conv1 = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.cut_aliases = {"stem": "conv1"}
        for index in (1, 2, 3):
            block = nn.Sequential()
            for _ in range((depth - 4) // unit):
                block.append(layer(channels, growth=growth))
                channels += growth
            self.add_module(f"dense{index}", block)
            self.cut_aliases[f"stage_{index}"] = f"dense{index}"
            if index < 3:
                kept = int(channels * compression)
                self.add_module(f"trans{index}", Transition(channels, kept))
                channels = kept
        self.bn1 = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, num_classes)
        initialize(self, linear_weights=False)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch class"]:
        x = self.conv1(images)
        for name in ("dense1", "trans1", "dense2", "trans2", "dense3"):
            x = self.get_submodule(name)(x)
        x = F.relu(self.bn1(x), inplace=True)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
