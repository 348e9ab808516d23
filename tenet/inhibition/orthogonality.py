"""Step 8 of the method: the loss that makes groups respond at different positions."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tenet.inhibition.checks import check_assignments, full_precision
from tenet.inhibition.importance import group_membership


def orthogonality_loss(
    features: Float[Tensor, "batch channel h w"],
    *,
    assignments: Int64[Tensor, "batch channel"],
    groups: int,
) -> Float[Tensor, ""]:
    """Return the mean absolute inner product of the group means over all pairs of groups, averaged over the samples.

    Empty groups are left out. A sample with only one group counts as 0. Differentiable in `features`.
    Raises ValueError if a group id is outside [0, groups).
    Source: arXiv 2103.02152, section 3.3; docs/method.md#orthogonality.
    """
    check_assignments(assignments, groups)
    with full_precision(features):
        membership = group_membership(assignments, groups=groups)
        sizes = membership.sum(dim=1)
        sums = torch.einsum("bcg,bcd->bgd", membership, features.float().flatten(2))
        means = sums / sizes.clamp(min=1)[..., None]
        # The mean of an empty group is the zero vector, so its products are 0.
        products = torch.einsum("bgd,bkd->bgk", means, means).abs().triu(diagonal=1).sum(dim=(1, 2))
        occupied = (sizes > 0).sum(dim=1)
        pairs = (occupied * (occupied - 1) / 2).clamp(min=1)
        return (products / pairs).mean()
