"""Step 6 of the method: the rectified reverse function, which computes the inhibition mask from the groups' maps."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tenet.inhibition.checks import check_assignments, full_precision
from tenet.inhibition.importance import channel_weights, group_importance, group_membership

# Added to the standard deviation of a group's map, so that a constant map is not divided by zero.
STABILITY = 1e-8


@torch.no_grad()
def group_maps(
    features: Float[Tensor, "batch channel h w"],
    *,
    gradients: Float[Tensor, "batch channel h w"],
    assignments: Int64[Tensor, "batch channel"],
    groups: int,
) -> Float[Tensor, "batch group h w"]:
    """Return the map of each group's evidence: the sum of its channels, each multiplied by its weight.

    Raises ValueError if a group id is outside [0, groups).
    Source: arXiv 2103.02152, section 3.2; docs/method.md#mask.
    """
    check_assignments(assignments, groups)
    with full_precision(features):
        weighted = group_membership(assignments, groups=groups) * channel_weights(gradients)[..., None]
        return torch.einsum("bcg,bchw->bghw", weighted, features.float())


@torch.no_grad()
def inhibition_mask(
    features: Float[Tensor, "batch channel h w"],
    *,
    gradients: Float[Tensor, "batch channel h w"],
    assignments: Int64[Tensor, "batch channel"],
    groups: int,
) -> Float[Tensor, "batch channel h w"]:
    """Return the factor, in (0, 1), by which each channel is damped: smallest where its group's map is strongest.

    The map of a group is standardised over its positions, negated and passed through a sigmoid. A group whose
    importance is not positive passes unchanged (mask 1). The mask is float32 and has no gradient.
    Raises ValueError if a group id is outside [0, groups).
    Source: arXiv 2103.02152, section 3.2; docs/method.md#mask.
    """
    maps = group_maps(features, gradients=gradients, assignments=assignments, groups=groups)
    importance = group_importance(gradients, assignments=assignments, groups=groups)
    deviation, mean = torch.std_mean(maps, dim=(2, 3), correction=0, keepdim=True)
    reversed_maps = torch.sigmoid(-(maps - mean) / (deviation + STABILITY))
    reversed_maps = reversed_maps.masked_fill(importance[:, :, None, None] <= 0, 1.0)
    h, w = features.shape[2:]
    return reversed_maps.gather(1, assignments[:, :, None, None].expand(-1, -1, h, w))
