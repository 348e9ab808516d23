"""ResNeXt for 32x32 images (Xie et al. 2017, arXiv 1611.05431), with the weights' names of the official checkpoints."""

from typing import Annotated, ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenet.networks.initialization import initialize
from tenet.rules import at_least, at_most


class Bottleneck(nn.Module):
    """Reduce, grouped 3x3, expand, each with BatchNorm, around a shortcut."""

    def __init__(
        self, in_channels: int, out_channels: int, *, width: int, cardinality: int, stride: int
    ) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn_reduce = nn.BatchNorm2d(width)
        self.conv_conv = nn.Conv2d(width, width, 3, stride, padding=1, groups=cardinality, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.conv_expand = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn_expand = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if in_channels != out_channels:
            self.shortcut.add_module(
                "shortcut_conv", nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            )
            self.shortcut.add_module("shortcut_bn", nn.BatchNorm2d(out_channels))

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch _ _ _"]:
        out = F.relu(self.bn_reduce(self.conv_reduce(x)), inplace=True)
        out = F.relu(self.bn(self.conv_conv(out)), inplace=True)
        out = self.bn_expand(self.conv_expand(out))
        return F.relu(out + self.shortcut(x), inplace=True)


class ResNeXt(nn.Module):
    """ResNeXt-`depth` (`cardinality` x `base_width`d) with stages stem, stage_1, stage_2, stage_3.

    The stages give 64, 64w, 128w and 256w channels for a widen factor w, at 1, 1, 1/2 and 1/4 of the
    image's size. Raises ValueError unless depth is 2 more than a multiple of 9.

    The modules have the names of the official checkpoints; `other_names` are AugMix's and RobustBench's.
    """

    # Patterns in the names of other implementations' weights, and what they are here.
    other_names: ClassVar = {
        r"\bstage_(\d)\.(?=\d+\.)": r"stage_\1.stage_\1_bottleneck_",
        r"\bdownsample\.0\b": "shortcut.shortcut_conv",
        r"\bdownsample\.1\b": "shortcut.shortcut_bn",
    }
    stage_1: nn.Sequential
    stage_2: nn.Sequential
    stage_3: nn.Sequential

    def __init__(
        self,
        num_classes: int,
        depth: Annotated[int, at_least(11), at_most(2000)] = 29,
        cardinality: Annotated[int, at_least(1), at_most(1024)] = 4,
        base_width: Annotated[int, at_least(1), at_most(1024)] = 32,
        widen_factor: Annotated[int, at_least(1), at_most(64)] = 4,
    ) -> None:
        super().__init__()
        if depth < 11 or (depth - 2) % 9:
            raise ValueError(f"depth={depth} must be 2 more than a multiple of 9: 11, 20, 29, 38, ...")
        self.architecture = f"ResNeXt-{depth} {cardinality}x{base_width}d"
        if widen_factor != 4:
            self.architecture += f" (widen factor {widen_factor})"
        blocks = (depth - 2) // 9
        self.conv_1_3x3 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn_1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        channels = 64
        for index in (1, 2, 3):
            stage = nn.Sequential()
            for block in range(blocks):
                scale = 2 ** (index - 1)
                out_channels = 64 * widen_factor * scale
                bottleneck = Bottleneck(
                    channels,
                    out_channels,
                    width=cardinality * base_width * scale,
                    cardinality=cardinality,
                    stride=2 if index > 1 and block == 0 else 1,
                )
                stage.add_module(f"stage_{index}_bottleneck_{block}", bottleneck)
                channels = out_channels
            self.add_module(f"stage_{index}", stage)
        self.classifier = nn.Linear(channels, num_classes)
        self.cut_aliases = {"stem": "relu"}
        initialize(self)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch class"]:
        x = self.relu(self.bn_1(self.conv_1_3x3(images)))
        x = self.stage_3(self.stage_2(self.stage_1(x)))
        return self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))
