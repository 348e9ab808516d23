"""Step 4 of the method: group each sample's channels by how they fire."""

import warnings
from collections.abc import Callable
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from tenet.inhibition.checks import check_finite, check_groups, full_precision

# With more groups than these the kernel's blocks of channels, positions and groups no longer fit.
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
    """Cluster the channels of each sample around medoids; return each channel's group in [0, groups).

    A channel is the vector of its h*w activations. The medoids start at `initial_medoids` (channel
    indices) or at distinct channels drawn with `generator`, which lives on the features' device. A
    sample is settled once its medoids move by less than sqrt(`tolerance`) in all. The arithmetic is
    float64 whatever the features' type, autocast or not. Groups may be empty.

    Raises ValueError for groups outside [1, channels], for medoids that are not distinct channels
    and for non-finite features. The last two read values, so they are checked on the CPU alone:
    elsewhere it would make the host wait.
    Source: arXiv 2103.02152, section 3.1; docs/method.md#grouping.
    """
    batch, channels = features.shape[:2]
    check_groups(groups, channels)
    if max_iterations < 1:
        raise ValueError(f"max_iterations={max_iterations} must be at least 1")
    if initial_medoids is None:
        # The ranks of independent uniform numbers: distinct channels, each set equally likely.
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
    """The grouping as one kernel, where it can be built and answers a small question as the rounds below do;
    else None, with a warning if there is Triton to build it with. Asked once a device; then the host waits.
    """
    try:
        from tenet.inhibition.grouping_kernel import cluster_on_device
    except ImportError:  # torch brings Triton along on Linux alone
        return None
    generator = torch.Generator(device).manual_seed(0)
    # Rectified, with equal channels, and more channels and positions than fill the kernel's blocks.
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
        reason = "its answer differs"
    except Exception as error:  # a compiler that is missing, or a device that it does not know
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
    """The rounds of the grouping, on any device, from distinct channels as first medoids."""
    with full_precision(features):
        points = features.detach().double().flatten(2)
        # A norm is one pass without a copy; where it is not finite, neither is the channel.
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
        # A settled sample keeps its medoids, and so gets the assignment again that it settled with.
        medoids = torch.where(unsettled[:, None], moved, medoids)
        if points.device.type == "cpu":
            # Here looking costs nothing, and most samples settle long before the limit. Elsewhere the
            # host would have to wait for the answer.
            remaining = int(unsettled.sum())
            if remaining == 0:
                break
            if remaining <= len(samples) / 2:  # worth the copy
                samples, points, squares, medoids = (
                    x[unsettled] for x in (samples, points, squares, medoids)
                )
    return answer


def _iterate(
    points: Float[Tensor, "batch channel d"],
    squares: Float[Tensor, "batch channel"],
    medoids: Int64[Tensor, "batch group"],
) -> tuple[Int64[Tensor, "batch channel"], Int64[Tensor, "batch group"], Float[Tensor, " batch"]]:
    """One round: the channels' groups, the groups' new medoids, and how far the medoids moved."""
    centers = _take(points, medoids)
    # argmin takes the first of equals: ties go to the lower group.
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
    """Euclidean, from inner products in float64, rounded to float32, so that ties in exact arithmetic are ties here.

    Ties are common: equal (dead) channels, and the two channels of a group of two, which are equally far
    from their mean. In float32 rounding would decide them, differently on every device.
    """
    scale = squares[:, :, None] + centers.square().sum(dim=2)[:, None, :]
    distances = scale - 2 * torch.einsum("bcd,bgd->bcg", points, centers)
    # Relative to the vectors' lengths this is rounding of zero, which no rounding to float32 would hide.
    distances = distances.masked_fill(distances < 1e-12 * scale, 0.0)
    # Roots, because squares may leave float32's range.
    return distances.sqrt().float()


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
