"""The grouping as one kernel for CUDA devices, with one program per sample.

Each round in `grouping.py` reads the features three times, and every sample takes part in as many rounds as the
slowest. Here the features of a sample stay in the cache, and its program ends when the sample has settled, so the host
never waits. The arithmetic is the same: float64, distances rounded to float32, ties to the lower index.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int64
from torch import Tensor

# The numbers of channels and positions that one program processes at a time.
BLOCK_CHANNELS, BLOCK_POSITIONS = 16, 64


@no_type_check
@triton.jit
def _center_distances(
    points, squares, centers, center_squares, c_ids, channels: tl.constexpr, positions: tl.constexpr, groups: tl.constexpr,
    group_slots: tl.constexpr, block_channels: tl.constexpr, block_positions: tl.constexpr,
):  # fmt: skip
    """Return the float32 distances of a block of channels to the centers; infinite for slots beyond the last group."""
    g_ids = tl.arange(0, group_slots)
    products = tl.zeros((block_channels, group_slots), dtype=tl.float64)
    for d_start in range(0, positions, block_positions):
        d_ids = d_start + tl.arange(0, block_positions)
        block = tl.load(
            points + c_ids[:, None] * positions + d_ids[None, :],
            mask=(c_ids[:, None] < channels) & (d_ids[None, :] < positions), other=0.0,
        ).to(tl.float64)  # fmt: skip
        center = tl.load(
            centers + g_ids[:, None] * positions + d_ids[None, :],
            mask=(g_ids[:, None] < groups) & (d_ids[None, :] < positions), other=0.0,
        )  # fmt: skip
        products += tl.sum(block[:, None, :] * center[None, :, :], axis=2)
    scale = (
        tl.load(squares + c_ids, mask=c_ids < channels, other=0.0)[:, None]
        + tl.load(center_squares + g_ids, mask=g_ids < groups, other=0.0)[None, :]
    )
    distances = scale - 2 * products
    distances = tl.where(distances < 1e-12 * scale, 0.0, distances)
    distances = tl.sqrt(distances).to(tl.float32)
    # Replace NaN by infinity, so that NaN can't lead to an index outside the arrays.
    return tl.where((g_ids[None, :] < groups) & (distances == distances), distances, float("inf"))


@no_type_check
@triton.jit
def _cluster_sample(
    points, medoids, answer, squares, centers, center_squares, distances,
    max_iterations, tolerance: tl.constexpr, channels: tl.constexpr, positions: tl.constexpr, groups: tl.constexpr,
    group_slots: tl.constexpr, channel_slots: tl.constexpr, block_channels: tl.constexpr,
    block_positions: tl.constexpr,
):  # fmt: skip
    """Run all rounds of one sample. `answer`, `medoids` and the four scratch arrays hold a separate part per sample."""
    sample = tl.program_id(0).to(tl.int64)
    points += sample * channels * positions
    answer += sample * channels
    squares += sample * channels
    medoids += sample * groups
    centers += sample * groups * positions
    center_squares += sample * groups
    distances += sample * groups * channels
    c_offsets = tl.arange(0, block_channels)
    d_offsets = tl.arange(0, block_positions)
    g_ids = tl.arange(0, group_slots)
    all_channels = tl.arange(0, channel_slots)

    for c_start in range(0, channels, block_channels):
        c_ids = c_start + c_offsets
        total = tl.zeros((block_channels,), dtype=tl.float64)
        for d_start in range(0, positions, block_positions):
            d_ids = d_start + d_offsets
            block = tl.load(
                points + c_ids[:, None] * positions + d_ids[None, :],
                mask=(c_ids[:, None] < channels) & (d_ids[None, :] < positions), other=0.0,
            ).to(tl.float64)  # fmt: skip
            total += tl.sum(block * block, axis=1)
        tl.store(squares + c_ids, total, mask=c_ids < channels)
    tl.debug_barrier()

    iteration = 0
    settled = 0
    while (iteration < max_iterations) & (settled == 0):
        iteration += 1
        # The centers are the medoids.
        medoid_ids = tl.load(medoids + g_ids, mask=g_ids < groups, other=0)
        for d_start in range(0, positions, block_positions):
            d_ids = d_start + d_offsets
            inside = (g_ids[:, None] < groups) & (d_ids[None, :] < positions)
            rows = tl.load(points + medoid_ids[:, None] * positions + d_ids[None, :], mask=inside, other=0.0)
            tl.store(centers + g_ids[:, None] * positions + d_ids[None, :], rows.to(tl.float64), mask=inside)
        tl.store(
            center_squares + g_ids,
            tl.load(squares + medoid_ids, mask=g_ids < groups, other=0.0),
            mask=g_ids < groups,
        )
        tl.debug_barrier()
        # Each channel joins its nearest medoid.
        for c_start in range(0, channels, block_channels):
            c_ids = c_start + c_offsets
            near = _center_distances(
                points,
                squares,
                centers,
                center_squares,
                c_ids,
                channels,
                positions,
                groups,
                group_slots,
                block_channels,
                block_positions,
            )
            nearest = tl.argmin(near, axis=1, tie_break_left=True)
            tl.store(answer + c_ids, nearest.to(tl.int64), mask=c_ids < channels)
        tl.debug_barrier()
        # The centers are now the groups' means.
        joined = tl.load(answer + all_channels, mask=all_channels < channels, other=group_slots)
        sizes = tl.sum((joined[:, None] == g_ids[None, :]).to(tl.int32), axis=0)
        total = tl.zeros((group_slots,), dtype=tl.float64)
        for d_start in range(0, positions, block_positions):
            d_ids = d_start + d_offsets
            means = tl.zeros((group_slots, block_positions), dtype=tl.float64)
            for c_start in range(0, channels, block_channels):
                c_ids = c_start + c_offsets
                block = tl.load(
                    points + c_ids[:, None] * positions + d_ids[None, :],
                    mask=(c_ids[:, None] < channels) & (d_ids[None, :] < positions), other=0.0,
                ).to(tl.float64)  # fmt: skip
                group = tl.load(answer + c_ids, mask=c_ids < channels, other=group_slots)
                member = (group[:, None] == g_ids[None, :]).to(tl.float64)
                means += tl.sum(member[:, :, None] * block[:, None, :], axis=0)
            means = means / tl.maximum(sizes, 1).to(tl.float64)[:, None]
            total += tl.sum(means * means, axis=1)
            tl.store(
                centers + g_ids[:, None] * positions + d_ids[None, :], means,
                mask=(g_ids[:, None] < groups) & (d_ids[None, :] < positions),
            )  # fmt: skip
        tl.store(center_squares + g_ids, total, mask=g_ids < groups)
        tl.debug_barrier()
        for c_start in range(0, channels, block_channels):
            c_ids = c_start + c_offsets
            near = _center_distances(
                points,
                squares,
                centers,
                center_squares,
                c_ids,
                channels,
                positions,
                groups,
                group_slots,
                block_channels,
                block_positions,
            )
            tl.store(
                distances + g_ids[None, :] * channels + c_ids[:, None], near,
                mask=(g_ids[None, :] < groups) & (c_ids[:, None] < channels),
            )  # fmt: skip
        tl.debug_barrier()
        # Group by group, claim the free channel nearest to the group's mean; an empty group claims the lowest free one.
        taken = all_channels >= channels
        shift = tl.full((), 0.0, tl.float64)
        for group in range(groups):
            near = tl.load(
                distances + group * channels + all_channels, mask=all_channels < channels, other=float("inf")
            )
            size = tl.sum((joined == group).to(tl.int32), axis=0)
            near = tl.where(size == 0, 0.0, near)
            near = tl.where(taken, float("inf"), near)
            claimed = tl.argmin(near, axis=0, tie_break_left=True).to(tl.int64)
            taken = taken | (all_channels == claimed)
            old = tl.load(medoids + group)
            square = tl.zeros((block_positions,), dtype=tl.float64)
            for d_start in range(0, positions, block_positions):
                d_ids = d_start + d_offsets
                here = tl.load(points + claimed * positions + d_ids, mask=d_ids < positions, other=0.0).to(
                    tl.float64
                )
                there = tl.load(points + old * positions + d_ids, mask=d_ids < positions, other=0.0).to(
                    tl.float64
                )
                square += (here - there) * (here - there)
            shift += tl.sqrt(tl.sum(square, axis=0))
            tl.debug_barrier()
            tl.store(medoids + group, claimed)
        settled = (shift * shift < tolerance).to(tl.int32)
        tl.debug_barrier()


def cluster_on_device(
    features: Float[Tensor, "batch channel h w"],
    medoids: Int64[Tensor, "batch group"],
    *,
    max_iterations: int,
    tolerance: float,
) -> Int64[Tensor, "batch channel"]:
    """Return the group of each channel, as `cluster` does. `medoids` are the initial medoids, distinct channels."""
    batch, groups = medoids.shape
    points = features.detach().flatten(2).contiguous()
    channels, positions = points.shape[1:]
    answer = medoids.new_empty(batch, channels)
    scratch = features.new_empty
    with torch.cuda.device_of(features):  # Triton launches kernels on the current device
        _cluster_sample[(batch,)](
            points,
            medoids.clone(),  # the programs overwrite them
            answer,
            scratch(batch, channels, dtype=torch.float64),
            scratch(batch, groups, positions, dtype=torch.float64),
            scratch(batch, groups, dtype=torch.float64),
            scratch(batch, groups, channels, dtype=torch.float32),
            max_iterations,
            tolerance=tolerance,
            channels=channels,
            positions=positions,
            groups=groups,
            group_slots=max(2, triton.next_power_of_2(groups)),
            channel_slots=triton.next_power_of_2(channels),
            block_channels=BLOCK_CHANNELS,
            block_positions=BLOCK_POSITIONS,
            num_warps=8,
        )
    return answer
