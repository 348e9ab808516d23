"""Initial weights."""

from torch import nn


def initialize(model: nn.Module, *, linear_weights: bool = True) -> None:
    """Initialise convolutions for ReLU by their fan-out, normalisation layers to the identity.

    Linear layers: weights by their fan-in, or as torch draws them if `linear_weights` is off; biases zero. A model on
    the meta device is left alone.
    Source: He et al. 2015, arXiv 1502.01852.
    """
    if any(parameter.is_meta for parameter in model.parameters()):
        return  # there are no values to set, and drawing them would import torch's compiler: a second or more
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif linear_weights:
                nn.init.kaiming_normal_(module.weight, mode="fan_in")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
