"""Group-wise inhibition: the steps of arXiv 2103.02152 as pure tensor functions."""

from tenet.inhibition.checks import NonFiniteFeaturesError
from tenet.inhibition.grouping import group_channels
from tenet.inhibition.importance import channel_weights, group_importance
from tenet.inhibition.mask import group_maps, inhibition_mask
from tenet.inhibition.orthogonality import orthogonality_loss

__all__ = [
    "NonFiniteFeaturesError",
    "channel_weights",
    "group_channels",
    "group_importance",
    "group_maps",
    "inhibition_mask",
    "orthogonality_loss",
]
