"""Residual networks for ImageNet."""

from collections.abc import Sequence
from typing import Annotated

from torch import nn

from tenet.rules import at_least, at_most, length

# The `cut_aliases` of torchvision's ResNets.
RESNET_CUTS = {"stem": "maxpool", **{f"stage_{index}": f"layer{index}" for index in (1, 2, 3, 4)}}


def imagenet_resnet(
    num_classes: int = 1000,
    blocks: Annotated[Sequence[Annotated[int, at_least(1), at_most(200)]], length(4)] = (3, 4, 6, 3),
) -> nn.Module:
    """torchvision's bottleneck ResNet; its published weights load.

    `blocks` are the bottlenecks of layer1 to layer4: (3, 4, 6, 3) is ResNet-50, (3, 4, 23, 3) ResNet-101 and
    (3, 8, 36, 3) ResNet-152. These layers, which may also be called stage_1 to stage_4, have 256, 512, 1024 and 2048
    channels, at 1/4, 1/8, 1/16 and 1/32 of the image's size; the stem has 64 at 1/4.
    Source: He et al. 2016, arXiv 1512.03385.
    """
    from torchvision.models.resnet import Bottleneck, ResNet  # takes a second to import

    network = ResNet(Bottleneck, list(blocks), num_classes=num_classes)
    network.architecture = f"ResNet-{3 * sum(blocks) + 2}"
    network.cut_aliases = RESNET_CUTS
    return network
