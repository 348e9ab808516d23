"""Snow, fog and frost."""

import math
from functools import lru_cache

import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from tenet.corruptions.blur import smear
from tenet.corruptions.frost import frost_texture
from tenet.corruptions.operators import (
    LEVEL_SLACK,
    apply_separable,
    to_whole_levels,
    write_levels,
    zoom_operator,
)
from tenet.corruptions.random import Draws

Images = Float64[Tensor, "batch 3 h w"]
Levels = UInt8[Tensor, "batch h w 3"]

COARSE_SIZE = 16  # points along an axis of a cloud that one matrix makes


def snow(
    images_01: Images,
    *,
    draws: Draws,
    mean: float,
    deviation: float,
    zoom: float,
    threshold: float,
    radius: float,
    sigma: float,
    kept: float,
) -> Images:
    """Whiten the image and add streaks of snow, and the same streaks rotated by 180 degrees."""
    height, width = images_01.shape[-2:]
    flakes = draws.normal(1, height, width) * deviation + mean
    rows = zoom_operator(height, zoom, images_01.device)
    columns = zoom_operator(width, zoom, images_01.device)
    flakes = apply_separable(flakes, rows=rows, columns=columns)
    flakes = to_whole_levels(flakes.masked_fill(flakes < threshold, 0.0).clamp_(0, 1))
    angles = draws.uniform(low=-0.75 * math.pi, high=-0.25 * math.pi)
    streaks = to_whole_levels(smear(flakes, angles=angles, radius=radius, sigma=sigma))
    grey = luma(images_01)
    whitened = kept * images_01 + (1 - kept) * torch.maximum(images_01, grey * 1.5 + 0.5)
    return whitened + streaks + streaks.flip(-1, -2)


def luma(images_01: Images) -> Float64[Tensor, "batch 1 h w"]:
    """Grey values with the weights of ITU-R BT.601."""
    red, green, blue = images_01.split(1, dim=1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def fog(levels: Levels, *, out: Levels, draws: Draws, thickness: float, decay: float) -> None:
    """Add a cloud, then rescale so that the brightest possible value equals the brightest one before."""
    height, width = levels.shape[1:3]
    cloud = plasma(1 << (max(height, width) - 1).bit_length(), draws=draws, decay=decay)
    brightest = levels.flatten(1).amax(dim=1).double()[:, None, None] / 255
    scale = brightest / (brightest + thickness)
    added = (cloud[:, :height, :width] * (255 * thickness * scale)).add_(LEVEL_SLACK)
    for channel, fogged in zip(levels.unbind(-1), out.unbind(-1), strict=True):
        write_levels((channel * scale).add_(added), out=fogged)


def plasma(size: int, *, draws: Draws, decay: float) -> Float64[Tensor, "batch size size"]:
    """Diamond-square fractals on a torus, each rescaled to [0, 1]; size is a power of two.

    A point is the mean of its four neighbours at the coarser scale plus a uniform displacement, whose
    amplitude is divided by decay ** 2 from one scale to the next.
    """
    moves = draws.uniform(size, size, low=-1.0, high=1.0)
    # The first scales are many calls for few points; because they are linear, one matrix does the same.
    few = min(size, COARSE_SIZE)
    coarse = moves[:, :: size // few, :: size // few].reshape(-1, few**2)
    heights = (coarse @ coarse_scales(few, decay, moves.device)).view(-1, few, few)
    heights = finer_scales(heights, moves, decay=decay)
    heights -= heights.amin(dim=(1, 2), keepdim=True)
    return heights.div_(heights.amax(dim=(1, 2), keepdim=True))


@lru_cache(maxsize=16)
def coarse_scales(size: int, decay: float, device: torch.device) -> Float64[Tensor, "moves heights"]:
    """Heights of all points of a small fractal for a displacement of 1 of each of them."""
    moves = torch.eye(size**2, dtype=torch.float64, device=device).view(-1, size, size)
    return finer_scales(torch.zeros_like(moves[:, :1, :1]), moves, decay=decay).flatten(1)


def finer_scales(
    heights: Float64[Tensor, "batch coarse coarse"],
    moves: Float64[Tensor, "batch size size"],
    *,
    decay: float,
) -> Float64[Tensor, "batch size size"]:
    """Add scale after scale; `moves` are the displacements of all points.

    From one scale to the next, heights are multiplied by 4, which is exact and turns means into sums.
    """
    size, points = moves.shape[-1], heights.shape[-1]
    while points < size:
        step, half = size // points, size // points // 2
        reach = (4 / decay**2) ** (points.bit_length() - 1) * 4
        beside, below = heights + heights.roll(-1, 2), heights + heights.roll(-1, 1)
        centres = (below + below.roll(-1, 2)).add_(moves[:, half::step, half::step], alpha=reach)
        tops = beside.add_(centres, alpha=0.25).add_(centres.roll(1, 1), alpha=0.25)
        sides = below.add_(centres, alpha=0.25).add_(centres.roll(1, 2), alpha=0.25)
        finer = heights.new_empty(len(moves), 2 * points, 2 * points)
        torch.mul(heights, 4, out=finer[:, ::2, ::2])
        torch.add(tops, moves[:, ::step, half::step], alpha=reach, out=finer[:, ::2, 1::2])
        torch.add(sides, moves[:, half::step, ::step], alpha=reach, out=finer[:, 1::2, ::2])
        finer[:, 1::2, 1::2] = centres
        heights, points = finer, 2 * points
    return heights


def frost(
    levels: Levels,
    *,
    out: Levels,
    draws: Draws,
    image_weight: float,
    frost_weight: float,
    texture_scale: float,
) -> None:
    """A weighted sum of the image and a synthetic texture: see `frost_texture`."""
    height, width = levels.shape[1:3]
    textures = frost_texture(height, width, draws=draws, texture_scale=texture_scale, weight=frost_weight)
    for texture, channel, frosted in zip(textures, levels.unbind(-1), out.unbind(-1), strict=True):
        write_levels(texture.add_(channel.double(), alpha=image_weight).clamp_(max=255), out=frosted)
