"""Step 5 of the method: how much each channel and each group contributes to the decision."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from tenet.inhibition.checks import check_assignments, full_precision


def channel_weights(gradients: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel"]:
    """Average the gradient of the true class's score over each channel's positions, in float32."""
    return gradients.float().mean(dim=(2, 3))


def group_membership(
    assignments: Int64[Tensor, "batch channel"], *, groups: int
) -> Float[Tensor, "batch channel group"]:
    """Return one-hot group ids in float32, for sums over the channels of each group."""
    return F.one_hot(assignments, groups).float()


def group_importance(
    gradients: Float[Tensor, "batch channel h w"],
    *,
    assignments: Int64[Tensor, "batch channel"],
    groups: int,
) -> Float[Tensor, "batch group"]:
    """Sum the channel weights of each group; the sum of an empty group is 0.

    gradients: of the summed sigmoid scores of the true classes with respect to the features.
    Raises ValueError if a group id is outside [0, groups).
    Source: arXiv 2103.02152, section 3.2; docs/method.md#importance.
    """
    check_assignments(assignments, groups)
    with full_precision(gradients):
        membership = group_membership(assignments, groups=groups)
        return torch.einsum("bc,bcg->bg", channel_weights(gradients), membership)
