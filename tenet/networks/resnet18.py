"""ResNet-18 with a stem for small images, as most papers on CIFAR use it."""

from typing import Annotated

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenet.networks.initialization import initialize
from tenet.networks.resnet import StridedPointwise
from tenet.rules import at_least, at_most


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm around a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut.append(StridedPointwise(in_channels, out_channels, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(out_channels))

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch _ _ _"]:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x), inplace=True)


class EighteenLayers(nn.Module):
    """A 3x3 convolution of stride 1, four layers of two blocks each, average pooling and a linear layer.

    The layers (layer1 to layer4, also stage_1 to stage_4) have width, 2, 4 and 8 times the width channels, at 1, 1/2,
    1/4 and 1/8 of the image's size. Subclasses choose the `block`, and whether BatchNorm and ReLU follow the stem.
    """

    block: type[nn.Module]
    rectifies_stem: bool

    def __init__(self, num_classes: int, width: Annotated[int, at_least(1), at_most(4096)] = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        if self.rectifies_stem:
            self.bn1 = nn.BatchNorm2d(width)
        self.cut_aliases = {"stem": "bn1" if self.rectifies_stem else "conv1"}
        channels = width
        for index in (1, 2, 3, 4):
            out_channels = width * 2 ** (index - 1)
            first = self.block(channels, out_channels, stride=1 if index == 1 else 2)
            second = self.block(out_channels, out_channels, stride=1)
            self.add_module(f"layer{index}", nn.Sequential(first, second))
            self.cut_aliases[f"stage_{index}"] = f"layer{index}"
            channels = out_channels
        self.linear = nn.Linear(channels, num_classes)
        initialize(self, linear_weights=False)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch class"]:
        x = self.conv1(images)
        if self.rectifies_stem:
            x = F.relu(self.bn1(x), inplace=True)
        for index in (1, 2, 3, 4):
            x = self.get_submodule(f"layer{index}")(x)
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


class ResNet18(EighteenLayers):
    """ResNet-18 for small images. width: 64 in all publications.

    The modules have the names of the checkpoints in common use (PRIME, APR, HybridAugment). Source: He et al. 2016,
    arXiv 1512.03385; kuangliu/pytorch-cifar, models/resnet.py.
    """

    block, rectifies_stem = ResidualBlock, True
