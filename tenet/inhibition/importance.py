"""Step 5 of the method: how much each channel and each group carries the decision."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from tenet.inhibition.checks import check_assignments, full_precision


def channel_weights(gradients: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel"]:
    """Mean gradient of the true class's score over each channel's positions, in float32."""
    return gradients.float().mean(dim=(2, 3))


def group_membership(
    assignments: Int64[Tensor, "batch channel"], *, groups: int
) -> Float[Tensor, "batch channel group"]:
    """One-hot group ids, as float32 for sums over a group's channels."""
    return F.one_hot(assignments, groups).float()


def group_importance(
    gradients: Float[Tensor, "batch channel h w"],
    *,
    assignments: Int64[Tensor, "batch channel"],
    groups: int,
) -> Float[Tensor, "batch group"]:
    """Sum of the channel weights of each group; 0 for an empty group.

    `gradients` are those of the summed sigmoid scores of the true classes with respect to the
    features. Raises ValueError if a group id is outside [0, groups).
    Source: arXiv 2103.02152, section 3.2; docs/method.md#importance.
    """
    check_assignments(assignments, groups)
    with full_precision(gradients):
        membership = group_membership(assignments, groups=groups)
        return torch.einsum("bc,bcg->bg", channel_weights(gradients), membership)
