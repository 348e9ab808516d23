"""Spatter: drops of water or specks of mud on the lens."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float64
from torch import Tensor

from tenet.corruptions.operators import apply_separable, gaussian_operator, to_whole_levels
from tenet.corruptions.random import Draws

Images = Float64[Tensor, "batch 3 h w"]
Map = Float64[Tensor, "batch h w"]

WATER = (175 / 255, 238 / 255, 238 / 255)
MUD = (63 / 255, 42 / 255, 20 / 255)
RELIEF = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))  # emboss filter: lights a drop from one corner
WEAK_EDGE, STRONG_EDGE = 50, 150  # in levels
FARTHEST = 20  # pixels


def spatter(
    images_01: Images,
    *,
    draws: Draws,
    mean: float,
    deviation: float,
    sigma: float,
    threshold: float,
    strength: float,
    mud: float,
) -> Images:
    """Cover the image where smoothed noise exceeds `threshold`, with water (mud = 0) or mud (mud = 1)."""
    noise = draws.normal(*images_01.shape[-2:]) * deviation + mean
    liquid = _smooth(noise, sigma)
    liquid = liquid.masked_fill(liquid < threshold, 0.0)
    if mud:
        cover = _smooth((liquid > threshold).double(), strength)
        cover = cover.masked_fill(cover < 0.8, 0.0)[:, None]
        return images_01 * (1 - cover) + cover * images_01.new_tensor(MUD).view(3, 1, 1)
    cover = water_cover(to_whole_levels(liquid.clamp(0, 1)) * 255) * strength
    return images_01 + cover[:, None] * images_01.new_tensor(WATER).view(3, 1, 1)


def water_cover(levels: Map) -> Map:
    """Light that a layer of drops (whole levels) adds to each pixel: in [0, 1], 1 at the brightest pixel."""
    distance = distance_to(edges(levels)).clamp_(max=FARTHEST)
    ranks = equalize_levels(_convolve(distance, torch.full((3, 3), 1 / 9)).add_(1e-9).floor_())
    lit = _convolve(ranks, torch.tensor(RELIEF)).clamp_(0, 255)
    cover = levels * _convolve(lit, torch.full((3, 3), 1 / 9)).round_()
    brightest = cover.amax(dim=(1, 2), keepdim=True)
    # without drops nothing is added; the official code divides 0 by 0, which turns the image black
    return cover / brightest.clamp(min=1e-9)


def edges(levels: Map) -> Bool[Tensor, "batch h w"]:
    """Canny's edges on Sobel gradients (sum of magnitudes), as OpenCV finds them."""
    across = torch.tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    dx = _convolve(levels, across, boundary="replicate")
    dy = _convolve(levels, across.mT, boundary="replicate")
    strength = dx.abs() + dy.abs()
    near = F.pad(strength, (1, 1, 1, 1))
    height, width = levels.shape[-2:]

    def neighbour(row: int, column: int) -> Tensor:
        return near[:, 1 + row : 1 + row + height, 1 + column : 1 + column + width]

    # Non-maximum suppression across the edge: along x, along y, or along a diagonal.
    tangent = 2**0.5 - 1  # of 22.5 degrees
    flat, steep = dy.abs() < dx.abs() * tangent, dy.abs() > dx.abs() * (tangent + 2)
    ridge_x = (strength > neighbour(0, -1)) & (strength >= neighbour(0, 1))
    ridge_y = (strength > neighbour(-1, 0)) & (strength >= neighbour(1, 0))
    rising = (strength > neighbour(-1, 1)) & (strength > neighbour(1, -1))
    falling = (strength > neighbour(-1, -1)) & (strength > neighbour(1, 1))
    diagonal = torch.where(dx * dy < 0, rising, falling)
    ridge = torch.where(flat, ridge_x, torch.where(steep, ridge_y, diagonal))
    weak = (ridge & (strength > WEAK_EDGE)).double()
    found = weak * (strength > STRONG_EDGE)
    for _ in range(16):  # strong edges extend along weak ones; noise has no longer chains
        found = F.max_pool2d(found[:, None], 3, stride=1, padding=1)[:, 0] * weak
    return found > 0


def distance_to(marked: Bool[Tensor, "batch h w"]) -> Map:
    """Euclidean distance to the nearest marked pixel, in pixels; exact below FARTHEST, else at least FARTHEST."""
    squared = torch.where(marked, 0.0, 4.0 * FARTHEST**2).double()
    for axis in (-1, -2):  # nearest along the rows, then along the columns of the result
        size = squared.shape[axis]
        nearest = squared.clone()
        for shift in range(1, min(FARTHEST, size - 1) + 1):
            before, after = squared.narrow(axis, 0, size - shift), squared.narrow(axis, shift, size - shift)
            right, left = (
                nearest.narrow(axis, shift, size - shift),
                nearest.narrow(axis, 0, size - shift),
            )
            torch.minimum(right, before + shift**2, out=right)
            torch.minimum(left, after + shift**2, out=left)
        squared = nearest
    return squared.sqrt_()


def equalize_levels(values: Map) -> Map:
    """Histogram equalisation of integers in [0, FARTHEST] to levels 0 to 255."""
    numbers = torch.arange(FARTHEST + 1, device=values.device)
    up_to = (values.flatten(1)[:, :, None] <= numbers).sum(dim=1).double()
    lowest = values.amin(dim=(1, 2)).long()[:, None]
    first = up_to.gather(1, lowest)
    spread = up_to[:, -1:] - first
    lookup = torch.where(spread > 0, ((up_to - first) / spread * 255).round_(), numbers.double())
    return lookup.gather(1, values.long().flatten(1)).view_as(values)


def _smooth(values: Map, sigma: float) -> Map:
    height, width = values.shape[-2:]
    rows = gaussian_operator(height, sigma, 4.0, "nearest", values.device)
    columns = gaussian_operator(width, sigma, 4.0, "nearest", values.device)
    return apply_separable(values, rows=rows, columns=columns)


def _convolve(values: Map, kernel: Tensor, *, boundary: str = "reflect") -> Map:
    """Correlate with a 3 x 3 kernel; `boundary` is a mode of torch.nn.functional.pad."""
    height, width = values.shape[-2:]
    padded = F.pad(values[:, None], (1, 1, 1, 1), mode=boundary)[:, 0]
    total = torch.zeros_like(values)
    for row, weights in enumerate(kernel.tolist()):
        for column, weight in enumerate(weights):
            if weight:
                total.add_(padded[:, row : row + height, column : column + width], alpha=weight)
    return total
