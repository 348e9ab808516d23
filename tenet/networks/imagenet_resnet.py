"""Residual networks for ImageNet (He et al. 2016, arXiv 1512.03385, section 4.1), key for key torchvision's."""

from collections import OrderedDict
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenet.networks.backbone import Backbone, initialize


class Bottleneck(nn.Module):
    """Reduce, 3x3, expand fourfold, each with BatchNorm, around a shortcut."""

    def __init__(self, in_channels: int, width: int, *, stride: int) -> None:
        super().__init__()
        out_channels = 4 * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        # The stride is here and not in conv1 as in the paper: "v1.5", which all published weights have.
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.downsample.append(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False))
            self.downsample.append(nn.BatchNorm2d(out_channels))

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch _ _ _"]:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        return F.relu(out + self.downsample(x), inplace=True)


class ImageNetResNet(Backbone):
    """A bottleneck ResNet with stages stem, stage_1 to stage_4 of 64, 256, 512, 1024 and 2048 channels.

    The stages work at 1/4, 1/4, 1/8, 1/16 and 1/32 of the image's size. `blocks` are the bottlenecks of
    stage_1 to stage_4: (3, 4, 6, 3) is ResNet-50, (3, 4, 23, 3) ResNet-101, (3, 8, 36, 3) ResNet-152.
    Raises ValueError unless they are four, of at least 1.

    The modules carry torchvision's names, and `stages` and `head` are views of them.
    """

    def __init__(self, num_classes: int = 1000, blocks: Sequence[int] = (3, 4, 6, 3)) -> None:
        super().__init__()
        if len(blocks) != 4 or min(blocks) < 1:
            raise ValueError(f"blocks={list(blocks)} must be the numbers of bottlenecks of four stages")
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for index, count in enumerate(blocks, start=1):
            width = 64 * 2 ** (index - 1)
            stage = nn.Sequential()
            for block in range(count):
                stride = 2 if index > 1 and block == 0 else 1
                stage.append(Bottleneck(channels, width, stride=stride))
                channels = 4 * width
            self.add_module(f"layer{index}", stage)
        self.fc = nn.Linear(channels, num_classes)
        # Views, kept out of the registry of submodules: parameters keep torchvision's names, once each.
        stem = nn.Sequential(
            self.conv1, self.bn1, nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2, padding=1)
        )
        stages = OrderedDict[str, nn.Module](stem=stem)
        stages.update((f"stage_{index}", self.get_submodule(f"layer{index}")) for index in (1, 2, 3, 4))
        self.__dict__["stages"] = nn.Sequential(stages)
        self.__dict__["head"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), self.fc)
        initialize(self)
