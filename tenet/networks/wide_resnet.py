"""Wide residual networks for 32x32 images (Zagoruyko and Komodakis 2016, arXiv 1605.07146)."""

from typing import Annotated, ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenet.networks.initialization import initialize
from tenet.networks.resnet import StridedPointwise
from tenet.rules import at_least, at_most, below


class PreActivationBlock(nn.Module):
    """Two 3x3 convolutions, each after its BatchNorm and ReLU, around a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.dropout = dropout
        # TRADES' and RobustBench's name.
        self.convShortcut = (
            None
            if in_channels == out_channels
            else StridedPointwise(in_channels, out_channels, 1, stride, bias=False)
        )

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch _ _ _"]:
        activated = F.relu(self.bn1(x), inplace=True)
        # Where the width changes, the shortcut also begins after the activation.
        shortcut = x if self.convShortcut is None else self.convShortcut(activated)
        out = F.relu(self.bn2(self.conv1(activated)), inplace=True)
        if self.dropout > 0:
            out = F.dropout(out, self.dropout, training=self.training)
        return self.conv2(out) + shortcut


class WideResNet(nn.Module):
    """WideResNet-`depth`-`widen_factor` with stages stem, stage_1, stage_2, stage_3.

    The stages give 16, 16w, 32w and 64w channels for a widen factor w, at 1, 1, 1/2 and 1/4 of the image's
    size; their features are not rectified yet. dropout: between the convolutions of a block, [0, 1).
    Raises ValueError unless depth is 4 more than a multiple of 6.

    The modules have the names of RobustBench's checkpoints; `other_names` are AugMix's.
    """

    # Patterns in the names of other implementations' weights, and what they are here.
    other_names: ClassVar = {r"\bconv_shortcut\b": "convShortcut"}
    # Weights, in TRADES' and RobustBench's files, of a block that their forward never uses.
    unused_names: ClassVar = r"\bsub_block1\."

    def __init__(
        self,
        num_classes: int,
        depth: Annotated[int, at_least(10), at_most(2000)] = 40,
        widen_factor: Annotated[int, at_least(1), at_most(64)] = 2,
        dropout: Annotated[float, at_least(0), below(1)] = 0.0,
    ) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(
                f"depth={depth} must be 4 more than a multiple of 6: 10, 16, 22, 28, 34, 40, ..."
            )
        self.architecture = f"WideResNet-{depth}-{widen_factor}"
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        channels = 16
        self.cut_aliases = {"stem": "conv1"}
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
            self.cut_aliases[f"stage_{index}"] = f"block{index}.layer"
        self.bn1 = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, num_classes)
        initialize(self)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch class"]:
        x = self.conv1(images)
        for index in (1, 2, 3):
            x = self.get_submodule(f"block{index}.layer")(x)
        x = F.relu(self.bn1(x), inplace=True)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
