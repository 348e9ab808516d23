"""Spatter: drops of water or specks of mud on the lens."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, Float64, Int32
from torch import Tensor

from tenet.corruptions.operators import LEVEL_SLACK, apply_separable, gaussian_operator
from tenet.corruptions.random import Draws

Images = Float64[Tensor, "batch 3 h w"]
Map = Float64[Tensor, "batch h w"]
WholeMap = Float32[Tensor, "batch h w"]  # whole numbers, which float32 represents exactly below 2 ** 24

WATER = (175 / 255, 238 / 255, 238 / 255)
MUD = (63 / 255, 42 / 255, 20 / 255)
RELIEF = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))  # emboss filter: lights a drop from one corner
WEAK_EDGE, STRONG_EDGE = 50, 150  # in levels
FARTHEST = 20  # pixels
PIXEL = 2**16  # fixed point of distances
# (down, right, length) of each step of a path, in one direction of two.
STEPS = (
    *((down, right, PIXEL) for down, right in ((0, 1), (1, 0))),
    *((1, right, round(1.4 * PIXEL)) for right in (1, -1)),
    *((down, right, round(2.1969 * PIXEL)) for down, right in ((1, 2), (1, -2), (2, 1), (2, -1))),
)


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
    noise = draws.normal(*images_01.shape[-2:]).mul_(deviation).add_(mean)
    liquid = _smooth(noise, sigma)
    if mud:
        cover = _smooth((liquid > threshold).double(), strength)
        cover.masked_fill_(cover < 0.8, 0.0)
        return torch.lerp(images_01, images_01.new_tensor(MUD).view(3, 1, 1), cover[:, None])
    liquid.masked_fill_(liquid < threshold, 0.0)
    cover = water_cover(liquid.clamp_(0, 1).mul_(255).add_(LEVEL_SLACK).floor_().float()).mul_(strength)
    return torch.addcmul(images_01, cover[:, None], images_01.new_tensor(WATER).view(3, 1, 1))


def water_cover(levels: WholeMap) -> Map:
    """Light that a layer of drops (whole levels) adds to each pixel: in [0, 1], 1 at the brightest pixel."""
    distance = _box_sum(distance_to(edges(levels)).float())
    lit = _emboss(equalize_levels(distance.div_(9 * PIXEL).floor_())).clamp_(0, 255)
    cover = _box_sum(lit).div_(9).round_().mul_(levels).double()
    brightest = cover.amax(dim=(1, 2), keepdim=True)
    # without drops nothing is added; the official code divides 0 by 0, which turns the image black
    return cover.div_(brightest.clamp_(min=1e-9))


def edges(levels: WholeMap) -> Bool[Tensor, "batch h w"]:
    """Canny's edges on Sobel gradients (sum of magnitudes), as OpenCV finds them."""
    height, width = levels.shape[-2:]
    padded = F.pad(levels[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    across, down = padded[:, :, 2:] - padded[:, :, :-2], padded[:, 2:] - padded[:, :-2]
    dx = across[:, :-2].add(across[:, 1:-1], alpha=2).add_(across[:, 2:])
    dy = down[:, :, :-2].add(down[:, :, 1:-1], alpha=2).add_(down[:, :, 2:])
    # Masks are numbers, 0 or 1: on a CPU, that is much faster than bool.
    rises = (dx * dy).lt_(0)
    strength = dx.abs_() + dy.abs_()
    tangent = 2**0.5 - 1  # of 22.5 degrees
    flat, steep = (dx * tangent).gt_(dy), (dx * (tangent + 2)).lt_(dy)
    near = F.pad(strength, (1, 1, 1, 1))

    def neighbour(row: int, column: int) -> Tensor:
        return near[:, 1 + row : 1 + row + height, 1 + column : 1 + column + width]

    # Non-maximum suppression across the edge: the least strength, a whole number, that exceeds the neighbours along x,
    # along y or along a diagonal. Of two equal ones along an axis, the first is kept.
    needed = torch.maximum(neighbour(-1, -1), neighbour(1, 1))
    needed.lerp_(torch.maximum(neighbour(-1, 1), neighbour(1, -1)), rises).add_(1)
    needed.lerp_(torch.maximum(neighbour(-1, 0) + 1, neighbour(1, 0)), steep)
    needed.lerp_(torch.maximum(neighbour(0, -1) + 1, neighbour(0, 1)), flat)
    weak = strength >= needed.clamp_(min=WEAK_EDGE + 1)
    return connected(weak & (strength > STRONG_EDGE), within=weak)


def connected(
    found: Bool[Tensor, "batch h w"], *, within: Bool[Tensor, "batch h w"]
) -> Bool[Tensor, "batch h w"]:
    """The marked pixels, and those of `within` that a chain of neighbours within it connects to them."""
    while True:
        wide = found.clone()
        wide[:, :, 1:] |= found[:, :, :-1]
        wide[:, :, :-1] |= found[:, :, 1:]
        grown = wide.clone()
        grown[:, 1:] |= wide[:, :-1]
        grown[:, :-1] |= wide[:, 1:]
        grown &= within
        if torch.equal(grown, found):
            return found
        found = grown


def distance_to(marked: Bool[Tensor, "batch h w"]) -> Int32[Tensor, "batch h w"]:
    """Distance to the nearest marked pixel, at most FARTHEST, in 65536ths of a pixel, as OpenCV approximates it.

    The length of the shortest path of steps to a neighbour (1), across a corner (1.4) and of a chess knight (2.1969).
    """
    height, width = marked.shape[-2:]
    # FARTHEST columns between one row and the next, so that a path that leaves a row is too long to matter.
    row = width + FARTHEST
    grid = torch.full((len(marked), height, row), FARTHEST * PIXEL, dtype=torch.int32, device=marked.device)
    grid[:, :, :width].masked_fill_(marked, 0)
    distance = grid.flatten(1)
    longer = torch.empty_like(distance)
    for down, right, length in STEPS:
        # Steps along one line, both ways: 1, then 2 more, then 4 more, and so on.
        step = down * row + right
        while length < FARTHEST * PIXEL and step < distance.shape[1]:
            torch.add(distance, length, out=longer)
            ahead, behind = distance[:, step:], distance[:, :-step]
            torch.minimum(ahead, longer[:, :-step], out=ahead)
            torch.minimum(behind, longer[:, step:], out=behind)
            step, length = 2 * step, 2 * length
    return grid[:, :, :width]


def equalize_levels(values: WholeMap) -> WholeMap:
    """Histogram equalisation of integers in [0, FARTHEST] to levels 0 to 255."""
    batch, indices = len(values), values.flatten(1).long()
    bins = FARTHEST + 1
    first_bins = torch.arange(batch, device=values.device)[:, None] * bins
    counts = torch.bincount((indices + first_bins).flatten(), minlength=batch * bins)
    up_to = counts.view(batch, bins).cumsum(dim=1).double()
    lowest = (up_to == 0).sum(dim=1, keepdim=True)
    first = up_to.gather(1, lowest)
    spread = up_to[:, -1:] - first
    numbers = torch.arange(bins, device=values.device).double()
    lookup = torch.where(spread > 0, ((up_to - first) / spread * 255).round_(), numbers)
    return lookup.float().gather(1, indices).view_as(values)


def _smooth(values: Map, sigma: float) -> Map:
    height, width = values.shape[-2:]
    rows = gaussian_operator(height, sigma, 4.0, "nearest", values.device)
    columns = gaussian_operator(width, sigma, 4.0, "nearest", values.device)
    return apply_separable(values, rows=rows, columns=columns)


def _padded(values: WholeMap) -> Float32[Tensor, "batch h+2 w+2"]:
    return F.pad(values[:, None], (1, 1, 1, 1), mode="reflect")[:, 0]


def _box_sum(values: WholeMap) -> WholeMap:
    """The sum over 3 x 3 pixels; exact below 2 ** 24."""
    padded = _padded(values)
    rows = (padded[:, :-2] + padded[:, 1:-1]).add_(padded[:, 2:])
    return (rows[:, :, :-2] + rows[:, :, 1:-1]).add_(rows[:, :, 2:])


def _emboss(values: WholeMap) -> WholeMap:
    """Correlate with RELIEF."""
    height, width = values.shape[-2:]
    padded = _padded(values)
    total = torch.zeros_like(values)
    for row, weights in enumerate(RELIEF):
        for column, weight in enumerate(weights):
            if weight:
                total.add_(padded[:, row : row + height, column : column + width], alpha=weight)
    return total
