"""Step 4 of the method: group the channels of each sample by their activations."""

import warnings
from collections.abc import Callable
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from tenet.inhibition.checks import check_finite, check_groups, full_precision

# The largest number of groups for which the kernel's blocks of channels, positions and groups fit on the device.
KERNEL_GROUPS = 32


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
    """Cluster the channels of each sample around medoids and return the group of each channel, in [0, groups).

    A channel is the vector of its h*w activations. The initial medoids are `initial_medoids` (channel
    indices) or distinct channels drawn with `generator`, which must be on the features' device. A
    sample has settled when the distances that its medoids move sum to less than sqrt(`tolerance`).
    The arithmetic is float64 for every dtype of the features, also under autocast. Groups may be empty.

    Raises ValueError for groups outside [1, channels], for medoids that are not distinct channels
    and for non-finite features. The last two checks read values, so they run on the CPU only:
    on other devices they would make the host wait.
    Source: arXiv 2103.02152, section 3.1; docs/method.md#grouping.
    """
    batch, channels = features.shape[:2]
    check_groups(groups, channels)
    if max_iterations < 1:
        raise ValueError(f"max_iterations={max_iterations} must be at least 1")
    if initial_medoids is None:
        # The channels with the highest random numbers: distinct, and every set is equally likely.
        noise = torch.rand(batch, channels, generator=generator, device=features.device)
        medoids = noise.topk(groups, dim=1).indices
    else:
        medoids = _checked_medoids(initial_medoids, batch, groups, channels)
    is_on_cuda = features.device.type == "cuda"
    kernel = trusted_kernel(features.device) if is_on_cuda and groups <= KERNEL_GROUPS else None
    cluster_all = kernel or cluster
    return cluster_all(features, medoids, max_iterations=max_iterations, tolerance=tolerance)


@lru_cache
def trusted_kernel(device: torch.device) -> Callable[..., Tensor] | None:
    """Return the grouping kernel if it builds and agrees with `cluster` on a small example; else None.

    Warns if Triton is installed but the kernel is not usable. The check runs once per device and makes the host wait.
    """
    try:
        from tenet.inhibition.grouping_kernel import cluster_on_device
    except ImportError:  # torch includes Triton only on Linux
        return None
    generator = torch.Generator(device).manual_seed(0)
    # Rectified features with some equal channels, and more channels and positions than one block of the kernel holds.
    features = torch.randn(8, 40, 9, 9, generator=generator, device=device).relu()
    features[:, 20:26] = 0
    medoids = torch.rand(8, 40, generator=generator, device=device).topk(6, dim=1).indices
    mode = torch.cuda.get_sync_debug_mode() if device.type == "cuda" else 0
    try:
        if mode:  # setting it warns
            torch.cuda.set_sync_debug_mode("default")
        ours, plain = (
            answer(features, medoids, max_iterations=50, tolerance=1e-4)
            for answer in (cluster_on_device, cluster)
        )
        if torch.equal(ours, plain):
            return cluster_on_device
        reason = "its result differs"
    except Exception as error:  # the compiler is missing or does not support the device
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    finally:
        if mode:
            torch.cuda.set_sync_debug_mode(mode)
    warnings.warn(f"the grouping kernel is not used on {device} ({reason}); training is slower", stacklevel=2)
    return None


def cluster(
    features: Float[Tensor, "batch channel h w"],
    medoids: Int64[Tensor, "batch group"],
    *,
    max_iterations: int,
    tolerance: float,
) -> Int64[Tensor, "batch channel"]:
    """Run the rounds of the grouping on any device. `medoids` are the initial medoids, distinct channels."""
    with full_precision(features):
        points = features.detach().double().flatten(2)
        # The norm needs one pass and no copy. It is finite only if the channel is.
        squares = torch.linalg.vector_norm(points, dim=2).square()
        check_finite(squares, "features")
        return _cluster(points, squares, medoids, max_iterations=max_iterations, tolerance=tolerance)


def _cluster(
    points: Float[Tensor, "batch channel d"],
    squares: Float[Tensor, "batch channel"],
    medoids: Int64[Tensor, "batch group"],
    *,
    max_iterations: int,
    tolerance: float,
) -> Int64[Tensor, "batch channel"]:
    answer = medoids.new_zeros(points.shape[:2])
    samples = torch.arange(len(points), device=points.device)
    for _ in range(max_iterations):
        assignments, moved, shift = _iterate(points, squares, medoids)
        answer[samples] = assignments
        unsettled = shift.square() >= tolerance
        # A settled sample keeps its medoids, so later rounds repeat its final assignment.
        medoids = torch.where(unsettled[:, None], moved, medoids)
        if points.device.type == "cpu":
            # Reading the count is free on the CPU, and most samples settle long before the limit. On other devices
            # the host would have to wait for it.
            remaining = int(unsettled.sum())
            if remaining == 0:
                break
            if remaining <= len(samples) / 2:  # the savings exceed the cost of the copy
                samples, points, squares, medoids = (
                    x[unsettled] for x in (samples, points, squares, medoids)
                )
    return answer


def _iterate(
    points: Float[Tensor, "batch channel d"],
    squares: Float[Tensor, "batch channel"],
    medoids: Int64[Tensor, "batch group"],
) -> tuple[Int64[Tensor, "batch channel"], Int64[Tensor, "batch group"], Float[Tensor, " batch"]]:
    """Run one round: return the channels' groups, the groups' new medoids, and how far the medoids moved in total."""
    centers = _take(points, medoids)
    # argmin returns the first minimum, so ties go to the lower group.
    assignments = _distances(points, squares, centers).argmin(dim=2)
    membership = torch.nn.functional.one_hot(assignments, medoids.shape[1]).to(points.dtype)
    sizes = membership.sum(dim=1)
    means = torch.einsum("bcg,bcd->bgd", membership, points) / sizes.clamp(min=1)[..., None]
    moved = _claim_medoids(_distances(points, squares, means), empty=sizes == 0)
    shift = (_take(points, moved) - centers).norm(dim=2).sum(dim=1)
    return assignments, moved, shift


def _distances(
    points: Float[Tensor, "batch channel d"],
    squares: Float[Tensor, "batch channel"],
    centers: Float[Tensor, "batch group d"],
) -> Float[Tensor, "batch channel group"]:
    """Return Euclidean distances, computed from inner products in float64 and rounded to float32.

    The rounding makes exact ties compare equal. Ties are common: dead channels are equal, and the two channels of a
    group of two are equally far from their mean. In float32 arithmetic, rounding errors would break such ties
    differently on every device.
    """
    scale = squares[:, :, None] + centers.square().sum(dim=2)[:, None, :]
    distances = scale - 2 * torch.einsum("bcd,bgd->bcg", points, centers)
    # Relative to the vectors' lengths such values are rounding errors of zero; rounding to float32 does not remove them.
    distances = distances.masked_fill(distances < 1e-12 * scale, 0.0)
    # Take the root before rounding: squared distances may exceed the range of float32.
    return distances.sqrt().float()


def _claim_medoids(
    distances: Float[Tensor, "batch channel group"], *, empty: Bool[Tensor, "batch group"]
) -> Int64[Tensor, "batch group"]:
    """Choose each group's new medoid, group by group: the free channel nearest to the group's mean.

    A channel is free if no earlier group has claimed it. An empty group claims the lowest free channel.
    """
    distances = distances.masked_fill(empty[:, None, :], 0.0)
    taken = torch.zeros_like(distances[:, :, 0], dtype=torch.bool)
    medoids = []
    for group in range(distances.shape[2]):
        medoid = distances[:, :, group].masked_fill(taken, torch.inf).argmin(dim=1, keepdim=True)
        taken = taken.scatter(1, medoid, True)
        medoids.append(medoid)
    return torch.cat(medoids, dim=1)


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
