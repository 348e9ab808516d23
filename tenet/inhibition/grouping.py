"""Step 4 of the method: group each sample's channels by how they fire."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from tenet.inhibition.checks import check_finite, check_groups, full_precision


@torch.no_grad()
def group_channels(
    features: Float[Tensor, "batch channel h w"],
    *,
    groups: int,
    generator: torch.Generator | None = None,
    initial_medoids: Int64[Tensor, "batch group"] | None = None,
    max_iterations: int = 50,
    tolerance: float = 1e-4,
) -> Int64[Tensor, "batch channel"]:
    """Cluster the channels of each sample around medoids; return each channel's group in [0, groups).

    A channel is the vector of its h*w activations. The medoids start at `initial_medoids` (channel
    indices) or at distinct channels drawn with `generator`, which lives on the features' device. A
    sample is settled once its medoids move by less than sqrt(`tolerance`) in all; distances are
    Euclidean and computed in float32 whatever the features' type. Groups may be empty.

    Raises ValueError for groups outside [1, channels], for medoids that are not distinct channels
    and for non-finite features. The last two read values, so they are checked on the CPU alone:
    elsewhere it would make the host wait.
    Source: arXiv 2103.02152, section 3.1; docs/method.md#grouping.
    """
    batch, channels = features.shape[:2]
    check_groups(groups, channels)
    if max_iterations < 1:
        raise ValueError(f"max_iterations={max_iterations} must be at least 1")
    check_finite(features, "features")
    with full_precision(features):
        points = features.detach().float().flatten(2)
        if initial_medoids is None:
            # The ranks of independent uniform numbers: distinct channels, each set equally likely.
            noise = torch.rand(batch, channels, generator=generator, device=features.device)
            medoids = noise.topk(groups, dim=1).indices
        else:
            medoids = _checked_medoids(initial_medoids, batch, groups, channels)
        return _cluster(points, medoids, max_iterations=max_iterations, tolerance=tolerance)


def _cluster(
    points: Float[Tensor, "batch channel d"],
    medoids: Int64[Tensor, "batch group"],
    *,
    max_iterations: int,
    tolerance: float,
) -> Int64[Tensor, "batch channel"]:
    assignments = medoids.new_zeros(points.shape[:2])
    pending = torch.ones(len(points), dtype=torch.bool, device=points.device)
    for _ in range(max_iterations):
        if points.device.type == "cpu":
            # Here looking costs nothing, and most samples settle long before the limit. On other
            # devices it would make the host wait: there, settled samples are computed and ignored.
            active = pending.nonzero().squeeze(1)
            if len(active) == 0:
                break
            assigned, moved, shift = _iterate(points[active], medoids[active])
            assignments[active] = assigned
            medoids = medoids.index_copy(0, active, moved)
            pending[active] = shift.square() >= tolerance
        else:
            assigned, moved, shift = _iterate(points, medoids)
            assignments = torch.where(pending[:, None], assigned, assignments)
            medoids = torch.where(pending[:, None], moved, medoids)
            pending = pending & (shift.square() >= tolerance)
    return assignments


def _iterate(
    points: Float[Tensor, "batch channel d"], medoids: Int64[Tensor, "batch group"]
) -> tuple[Int64[Tensor, "batch channel"], Int64[Tensor, "batch group"], Float[Tensor, " batch"]]:
    """One round: the channels' groups, the groups' new medoids, and how far the medoids moved."""
    centers = _take(points, medoids)
    # argmin takes the first of equals: ties go to the lower group.
    assignments = _distances(points, centers).argmin(dim=2)
    membership = torch.nn.functional.one_hot(assignments, medoids.shape[1]).to(points.dtype)
    sizes = membership.sum(dim=1)
    means = torch.einsum("bcg,bcd->bgd", membership, points) / sizes.clamp(min=1)[..., None]
    moved = _claim_medoids(_distances(points, means), empty=sizes == 0)
    shift = (_take(points, moved) - centers).norm(dim=2).sum(dim=1)
    return assignments, moved, shift


def _claim_medoids(
    distances: Float[Tensor, "batch channel group"], *, empty: Bool[Tensor, "batch group"]
) -> Int64[Tensor, "batch group"]:
    """Let each group in order claim the free channel nearest to its mean, an empty one the lowest free."""
    distances = distances.masked_fill(empty[:, None, :], 0.0)
    taken = torch.zeros_like(distances[:, :, 0], dtype=torch.bool)
    medoids = []
    for group in range(distances.shape[2]):
        medoid = distances[:, :, group].masked_fill(taken, torch.inf).argmin(dim=1, keepdim=True)
        taken = taken.scatter(1, medoid, True)
        medoids.append(medoid)
    return torch.cat(medoids, dim=1)


def _distances(
    points: Float[Tensor, "batch channel d"], centers: Float[Tensor, "batch group d"]
) -> Float[Tensor, "batch channel group"]:
    """Euclidean distances from differences, not from inner products: equal channels get equal distances."""
    return torch.cdist(points, centers, compute_mode="donot_use_mm_for_euclid_dist")


def _take(
    points: Float[Tensor, "batch channel d"], ids: Int64[Tensor, "batch group"]
) -> Float[Tensor, "batch group d"]:
    return points.gather(1, ids[..., None].expand(-1, -1, points.shape[2]))


def _checked_medoids(
    medoids: Int64[Tensor, "batch group"], batch: int, groups: int, channels: int
) -> Int64[Tensor, "batch group"]:
    if medoids.shape != (batch, groups):
        raise ValueError(
            f"initial_medoids has shape {list(medoids.shape)}; "
            f"{batch} samples in {groups} groups need [{batch}, {groups}]"
        )
    if medoids.device.type == "cpu" and medoids.numel():
        ordered = medoids.sort(dim=1).values
        if ordered.min() < 0 or ordered.max() >= channels or (ordered.diff(dim=1) == 0).any():
            raise ValueError(f"initial_medoids must name distinct channels in [0, {channels})")
    return medoids
