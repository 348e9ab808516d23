"""Linear resampling along one axis as matrices, and their application to batches.

A separable filter is rows @ image @ columns^T; the matrices include boundary rules, crops and zooms.
"""

from functools import lru_cache
from math import ceil
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

Operator = Float64[Tensor, "output input"]
Boundary = Literal["nearest", "reflect", "mirror"]

LEVEL_SLACK = 1e-6  # keeps a value just below a whole level, due to rounding errors, from truncation to the next lower one


BLOCK_ROWS = 64  # of an operator that are applied at a time


def to_float64_01(levels: UInt8[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
    """8-bit levels as numbers in [0, 1], in a contiguous tensor."""
    if levels.device.type == "cpu":  # NumPy divides while it converts
        return torch.from_numpy(np.divide(levels.numpy(), 255.0, order="C"))
    return levels.new_empty(levels.shape, dtype=torch.float64).copy_(levels).div_(255)


def to_levels(images_01: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
    """Clip to [0, 1] and scale to 255; the official code truncates to 8 bits. Overwrites `images_01`."""
    return torch.add(images_01.new_tensor(LEVEL_SLACK), images_01, alpha=255, out=images_01).clamp_(0, 255)


def write_levels(values: Float64[Tensor, "*shape"], *, out: UInt8[Tensor, "*shape"]) -> None:
    """Write values in [0, 256) as 8 bits without their fractions."""
    if out.device.type == "cpu":  # NumPy converts into a strided array twice as fast as torch
        np.copyto(out.numpy(), values.numpy(), casting="unsafe")
    else:
        out.copy_(values)


def to_whole_levels(images_01: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
    """Truncate to 8 bits, still in [0, 1], like a conversion to an integer image and back."""
    return (images_01 * 255 + LEVEL_SLACK).floor_().div_(255)


def apply_separable(
    images: Float64[Tensor, "*batch h w"], *, rows: Tensor | None = None, columns: Tensor | None = None
) -> Float64[Tensor, "*batch h2 w2"]:
    """Apply `rows` [h2, h] along the height and `columns` [w2, w] along the width; None changes nothing."""
    if columns is not None:
        images = _concatenate([images[..., used] @ part.mT for used, part in bands(columns)], dim=-1)
    if rows is not None:
        images = _concatenate([part @ images[..., used, :] for used, part in bands(rows)], dim=-2)
    return images


def _concatenate(parts: list[Tensor], *, dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)  # a single part is not copied


@lru_cache(maxsize=128)
def bands(operator: Operator) -> tuple[tuple[slice, Tensor], ...]:
    """The operator as blocks of rows: the inputs that each block uses, and its weights for them.

    A filter uses a few neighbours only: most of a large matrix is zero. Operators are cached, so each is split once.
    """
    parts = []
    for block in operator.split(BLOCK_ROWS):
        used = block.any(dim=0).nonzero()
        inputs = slice(int(used.min()), int(used.max()) + 1)
        parts.append((inputs, block[:, inputs].contiguous()))
    return tuple(parts)


def fold(indices: Int64[Tensor, "*shape"], size: int, *, boundary: Boundary) -> Int64[Tensor, "*shape"]:
    """Map indices outside [0, size) to the pixels that a boundary rule puts there.

    nearest: a a | a b c | c c; reflect: b a | a b c | c b; mirror: c b | a b c | b a.
    """
    if boundary == "nearest" or size == 1:
        return indices.clamp(0, size - 1)
    period = 2 * size if boundary == "reflect" else 2 * size - 2
    indices = indices.remainder(period)
    return torch.minimum(indices, period - 1 - indices if boundary == "reflect" else period - indices)


@lru_cache(maxsize=64)
def gaussian_operator(
    size: int, sigma: float, truncate: float, boundary: Boundary, device: torch.device
) -> Operator:
    """Gaussian filter with `sigma` in pixels, cut at `truncate` sigma, as in scipy.ndimage."""
    radius = int(truncate * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (offsets.double() / max(sigma, 1e-12)) ** 2)
    sources = fold(torch.arange(size)[:, None] + offsets, size, boundary=boundary)
    operator = torch.zeros(size, size, dtype=torch.float64)
    operator.scatter_add_(1, sources, (weights / weights.sum()).expand(size, -1))
    return operator.to(device)


@lru_cache(maxsize=64)
def zoom_operator(size: int, zoom: float, device: torch.device) -> Operator:
    """Crop the middle, enlarge it linearly by `zoom` >= 1 with aligned corners, trim to `size`."""
    cropped, enlarged = zoom_sizes(size, zoom)
    start, trimmed = (size - cropped) // 2, (enlarged - size) // 2
    step = (cropped - 1) / max(enlarged - 1, 1)
    positions = (torch.arange(size, dtype=torch.float64) + trimmed) * step
    left = positions.floor().clamp(max=max(cropped - 2, 0))
    share = positions - left
    sources = (left.long() + start)[:, None] + torch.arange(2)
    operator = torch.zeros(size, size, dtype=torch.float64)
    operator.scatter_add_(1, sources.clamp(max=size - 1), torch.stack([1 - share, share], dim=1))
    return operator.to(device)


def zoom_sizes(size: int, zoom: float) -> tuple[int, int]:
    """(pixels cropped, pixels after enlarging): two zooms with equal sizes have equal results."""
    cropped = ceil(size / zoom)
    return cropped, round(cropped * zoom)


@lru_cache(maxsize=64)
def box_operator(size: int, target: int, device: torch.device) -> Operator:
    """Pillow's box filter: the mean of the pixels whose centre lies in the target pixel's footprint."""
    scale = size / target
    centres = (torch.arange(target, dtype=torch.float64)[:, None] + 0.5) * scale
    distance = (torch.arange(size) + 0.5 - centres) / max(scale, 1.0)
    inside = ((distance > -0.5) & (distance <= 0.5)).double()
    return (inside / inside.sum(dim=1, keepdim=True)).to(device)
