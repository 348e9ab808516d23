"""PreActResNet-18 with a stem for small images, the network of fast adversarial training."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenet.networks.resnet import StridedPointwise
from tenet.networks.resnet18 import EighteenLayers


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


class PreActResNet18(EighteenLayers):
    """ResNet-18 for small images with pre-activation blocks; the features of its layers are not rectified.

    No BatchNorm and ReLU follow the last layer. The modules have the names of RobustBench's checkpoints (Wong2020Fast).
    width: 64 in all publications. Source: He et al. 2016, arXiv 1603.05027.
    """

    block, rectifies_stem = PreActBlock, False
