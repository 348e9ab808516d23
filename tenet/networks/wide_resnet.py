"""Wide residual networks for 32x32 images (Zagoruyko and Komodakis 2016, arXiv 1605.07146)."""

from collections import OrderedDict

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenet.networks.backbone import Backbone, initialize
from tenet.networks.resnet import StridedPointwise


class PreActivationBlock(nn.Module):
    """Two 3x3 convolutions, each after its BatchNorm and ReLU, around a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.dropout = dropout
        # The usual checkpoints' name.
        self.convShortcut = (
            None
            if in_channels == out_channels
            else StridedPointwise(in_channels, out_channels, 1, stride, bias=False)
        )

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch _ _ _"]:
        activated = F.relu(self.bn1(x), inplace=True)
        # Where the width changes, the shortcut too begins behind the activation.
        shortcut = x if self.convShortcut is None else self.convShortcut(activated)
        out = F.relu(self.bn2(self.conv1(activated)), inplace=True)
        if self.dropout > 0:
            out = F.dropout(out, self.dropout, training=self.training)
        return self.conv2(out) + shortcut


class WideResNet(Backbone):
    """WideResNet-`depth`-`widen_factor` with stages stem, stage_1, stage_2, stage_3.

    The stages give 16, 16w, 32w and 64w channels for a widen factor w, at 1, 1, 1/2 and 1/4 of the image's
    size; their features are not rectified yet. dropout: between the convolutions of a block, [0, 1).
    Raises ValueError unless depth is 4 more than a multiple of 6.

    The modules carry the names of the checkpoints in common use (AugMix's among them); `stages` and `head`
    are views of them.
    """

    def __init__(
        self, num_classes: int, depth: int = 40, widen_factor: int = 2, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(
                f"depth={depth} must be 4 more than a multiple of 6: 10, 16, 22, 28, 34, 40, ..."
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout} must be in [0, 1)")
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        channels = 16
        stages = OrderedDict[str, nn.Module](stem=self.conv1)
        for index in (1, 2, 3):
            out_channels = 16 * widen_factor * 2 ** (index - 1)
            blocks = []
            for block in range((depth - 4) // 6):
                stride = 2 if index > 1 and block == 0 else 1
                blocks.append(PreActivationBlock(channels, out_channels, stride=stride, dropout=dropout))
                channels = out_channels
            layer = nn.Sequential(*blocks)
            self.add_module(f"block{index}", nn.Module())
            self.get_submodule(f"block{index}").add_module("layer", layer)
            stages[f"stage_{index}"] = layer
        self.bn1 = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, num_classes)
        # Views, kept out of the registry of submodules: parameters keep their usual names, once each.
        self.__dict__["stages"] = nn.Sequential(stages)
        self.__dict__["head"] = nn.Sequential(
            self.bn1, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), self.fc
        )
        initialize(self)
