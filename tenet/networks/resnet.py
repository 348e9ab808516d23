"""The residual networks for 32x32 images of He et al. 2016 (arXiv 1512.03385, section 4.2)."""

from collections import OrderedDict
from typing import Annotated

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenet.networks.initialization import initialize
from tenet.rules import at_least, at_most


class StridedPointwise(nn.Conv2d):
    """A 1x1 convolution that applies its stride by slicing its input.

    It computes the same numbers as `nn.Conv2d`, whose backward on CPUs (torch 2.11, channels_last, fewer than 16
    channels, odd batches) writes past its memory.
    """

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch _ _ _"]:
        rows, columns = self.stride
        return F.conv2d(x[:, :, ::rows, ::columns], self.weight, self.bias)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm around a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn_1 = nn.BatchNorm2d(out_channels)
        self.conv_2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn_2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut.add_module(
                "conv", StridedPointwise(in_channels, out_channels, 1, stride, bias=False)
            )
            self.shortcut.add_module("bn", nn.BatchNorm2d(out_channels))

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch _ _ _"]:
        out = F.relu(self.bn_1(self.conv_1(x)), inplace=True)
        out = self.bn_2(self.conv_2(out))
        return F.relu(out + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    """ResNet-`depth` with stages stem, stage_1, stage_2, stage_3 of width, width, 2 width, 4 width channels.

    The stages work at 1, 1, 1/2 and 1/4 of the image's size. Depth 8 and width 16 train on two CPU
    cores in a minute or so. Raises ValueError unless depth is 2 more than a multiple of 6.
    """

    def __init__(
        self,
        num_classes: int,
        depth: Annotated[int, at_least(8), at_most(2000)] = 20,
        width: Annotated[int, at_least(1), at_most(4096)] = 16,
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth={depth} must be 2 more than a multiple of 6: 8, 14, 20, 26, 32, ...")
        self.architecture = f"ResNet-{depth}" + (f" (width {width})" if width != 16 else "")
        stages = OrderedDict[str, nn.Module]()
        stages["stem"] = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        channels = width
        for index in (1, 2, 3):
            out_channels = width * 2 ** (index - 1)
            blocks = []
            for block in range((depth - 2) // 6):
                stride = 2 if index > 1 and block == 0 else 1
                blocks.append(BasicBlock(channels, out_channels, stride=stride))
                channels = out_channels
            stages[f"stage_{index}"] = nn.Sequential(*blocks)
        self.stages = nn.Sequential(stages)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))
        self.cut_aliases = {name: f"stages.{name}" for name in stages}
        initialize(self)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch class"]:
        return self.head(self.stages(images))
