"""PreActResNet-18 with a stem for small images, the network of fast adversarial training."""

from typing import Annotated

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenet.networks.initialization import initialize
from tenet.networks.resnet import StridedPointwise
from tenet.rules import at_least, at_most


class PreActBlock(nn.Module):
    """Two 3x3 convolutions, each after its BatchNorm and ReLU; the shortcut begins before them."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut.append(StridedPointwise(in_channels, out_channels, 1, stride, bias=False))

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch _ _ _"]:
        # Not in place: the shortcut needs x.
        out = self.conv1(F.relu(self.bn1(x)))
        return self.conv2(F.relu(self.bn2(out), inplace=True)) + self.shortcut(x)


class PreActResNet18(nn.Module):
    """ResNet-18 with pre-activation blocks, whose layers are those of `ResNet18`; their features are not rectified.

    No BatchNorm and ReLU follow the last layer. The modules have the names of RobustBench's checkpoints (Wong2020Fast).
    width: 64 in all publications. Source: He et al. 2016, arXiv 1603.05027.
    """

    def __init__(self, num_classes: int, width: Annotated[int, at_least(1), at_most(4096)] = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.cut_aliases = {"stem": "conv1"}
        channels = width
        for index in (1, 2, 3, 4):
            out_channels = width * 2 ** (index - 1)
            first = PreActBlock(channels, out_channels, stride=1 if index == 1 else 2)
            second = PreActBlock(out_channels, out_channels, stride=1)
            self.add_module(f"layer{index}", nn.Sequential(first, second))
            self.cut_aliases[f"stage_{index}"] = f"layer{index}"
            channels = out_channels
        self.linear = nn.Linear(channels, num_classes)
        initialize(self, linear_weights=False)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch class"]:
        x = self.conv1(images)
        for index in (1, 2, 3, 4):
            x = self.get_submodule(f"layer{index}")(x)
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))
