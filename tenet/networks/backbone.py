"""The contract of every backbone."""

from jaxtyping import Float
from torch import Tensor, nn


class Backbone(nn.Module):
    """An image classifier that can be cut after any of its named stages.

    `stages` is an `nn.Sequential` of named stages, `head` maps their features [batch, channel, h, w]
    to logits, and the forward is `head(stages(images))`. Nothing else may happen between the two, so
    that a cut after a stage is exact.
    """

    stages: nn.Sequential
    head: nn.Module

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch class"]:
        return self.head(self.stages(images))


def initialize(model: nn.Module) -> None:
    """Initialise convolutions for ReLU by their fan-out, normalisation layers to the identity.

    Source: He et al. 2015, arXiv 1502.01852. Linear layers: weights likewise, biases zero.
    """
    if any(parameter.is_meta for parameter in model.parameters()):
        return  # there are no values; drawing them would import torch's compiler, a second or more
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(
                module.weight, mode="fan_out" if isinstance(module, nn.Conv2d) else "fan_in"
            )
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
