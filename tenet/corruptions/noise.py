"""The four noise corruptions."""

from functools import lru_cache

import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from tenet.corruptions.random import Draws

Images = Float64[Tensor, "batch 3 h w"]
Levels = UInt8[Tensor, "batch h w 3"]


def gaussian_noise(images_01: Images, *, draws: Draws, deviation: float) -> Images:
    """Additive noise with the same deviation everywhere. Overwrites `images_01`."""
    return images_01.add_(draws.normal(*images_01.shape[1:]), alpha=deviation)


def speckle_noise(images_01: Images, *, draws: Draws, deviation: float) -> Images:
    """Multiplicative noise: the deviation is proportional to the value. Overwrites `images_01`."""
    return images_01.addcmul_(images_01, draws.normal(*images_01.shape[1:]), value=deviation)


def impulse_noise(levels: Levels, *, out: Levels, draws: Draws, share: float) -> None:
    """Salt and pepper: set a `share` of the values, independently per channel, to 0 or 255."""
    height, width, channels = levels.shape[1:]
    pepper, salt = (
        # 255 where marked: operations on bits are much faster than masks
        marked.permute(0, 2, 3, 1).contiguous().view(torch.uint8).mul_(255)
        for marked in draws.outside(share, channels, height, width)
    )
    torch.bitwise_or(pepper.bitwise_not_().bitwise_and_(levels), salt, out=out)


def shot_noise(images_01: Images, *, draws: Draws, photons: float) -> Images:
    """Poisson noise with a mean of `photons` at white, by inversion of the distribution function."""
    white = int(photons)  # larger counts are clipped to white, so their exact value does not matter
    table = poisson_table(white, images_01.device)
    uniform = draws.uniform(*images_01.shape[1:]).flatten()
    first = images_01.flatten().mul(255).round_().int().mul_(table.shape[1])
    positions, index, entries = first.clone(), torch.empty_like(first), torch.empty_like(uniform)
    # A binary search in the row of each level, for all values at once: it counts the entries below the draw.
    half = (table.shape[1] + 1) // 2
    while half:
        torch.add(positions, half - 1, out=index)
        torch.index_select(table.view(-1), 0, index, out=entries)
        positions.add_(entries < uniform, alpha=half)
        half //= 2
    return entries.copy_(positions.sub_(first)).div_(white).view_as(images_01)


@lru_cache(maxsize=8)
def poisson_table(white: int, device: torch.device) -> Float64[Tensor, "256 entries"]:
    """P(count <= k) of each of the 256 levels for k in 0..white - 1, then ones up to 2 ** n - 1 entries."""
    rates = torch.arange(256, dtype=torch.float64) * (white / 255)
    counts = torch.arange(white, dtype=torch.float64)
    table = torch.ones(256, (1 << white.bit_length()) - 1, dtype=torch.float64)
    table[:, :white] = torch.special.gammaincc(counts + 1, rates[:, None])
    return table.to(device)
