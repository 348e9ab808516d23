"""The four noise corruptions."""

from functools import lru_cache

import torch
from jaxtyping import Float64
from torch import Tensor

from tenet.corruptions.random import Draws

Images = Float64[Tensor, "batch 3 h w"]


def gaussian_noise(images_01: Images, *, draws: Draws, deviation: float) -> Images:
    """Additive noise with the same deviation everywhere."""
    return images_01 + draws.normal(*images_01.shape[1:]) * deviation


def speckle_noise(images_01: Images, *, draws: Draws, deviation: float) -> Images:
    """Multiplicative noise: the deviation is proportional to the value."""
    return images_01 + images_01 * draws.normal(*images_01.shape[1:]) * deviation


def impulse_noise(images_01: Images, *, draws: Draws, share: float) -> Images:
    """Salt and pepper: set a `share` of the values, independently per channel, to 0 or 1."""
    uniform = draws.uniform(*images_01.shape[1:])
    peppered = images_01.masked_fill(uniform < share / 2, 0.0)
    return peppered.masked_fill_(uniform > 1 - share / 2, 1.0)


def shot_noise(images_01: Images, *, draws: Draws, photons: float) -> Images:
    """Poisson noise with a mean of `photons` at white, by inversion of the distribution function."""
    levels = images_01.mul(255).round_()
    white = int(photons)  # larger counts are clipped to white, so their exact value does not matter
    table = poisson_table(white, images_01.device)
    positions = torch.searchsorted(table, levels + draws.uniform(*images_01.shape[1:]))
    return (positions - levels.long() * (white + 1)).double() / white


@lru_cache(maxsize=8)
def poisson_table(white: int, device: torch.device) -> Float64[Tensor, "entries"]:
    """Level + P(count <= k) for each of the 256 levels and k in 0..white, in ascending order.

    One binary search for (level + uniform) then inverts the distribution of that level.
    """
    rates = torch.arange(256, dtype=torch.float64) * (white / 255)
    counts = torch.arange(white, dtype=torch.float64)
    cumulative = torch.special.gammaincc(counts + 1, rates[:, None])
    table = torch.cat([cumulative, torch.ones(256, 1, dtype=torch.float64)], dim=1)
    return (table + torch.arange(256)[:, None]).flatten().to(device)
