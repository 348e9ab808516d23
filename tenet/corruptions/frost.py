"""Synthetic frost, in place of the photographs of the official code, which are not ours to ship."""

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from tenet.corruptions.blur import smear
from tenet.corruptions.random import Draws

# The five kinds of frost among the crops that CIFAR-10-C shows (measured on them, in levels): turquoise
# ice, dark crystals, grey frost, and rime twice. Their mean colours, how far the brightness of a crop
# strays from that, the deviation of the grain, and whether crystals are brighter than the gaps or darker.
COLOURS = ((74, 148, 165), (96, 108, 120), (138, 152, 164), (195, 200, 209), (206, 211, 220))
BRIGHTNESS_DEVIATIONS = (11, 9, 11, 7, 7)
GRAIN_DEVIATIONS = ((21, 12.5, 12.5), (33, 33, 33), (28, 28, 28), (20, 20, 20), (17, 17, 17))
POLARITIES = (1, 1, 1, -1, -1)

ROUGHNESS = 0.55  # amplitude falls as frequency to this power: the textures' spectrum is near 1/f
NEEDLE_SIGMA = 4.0  # pixels of the photograph, before it is scaled


def frost_texture(
    height: int, width: int, *, draws: Draws, texture_scale: float
) -> Float64[Tensor, "batch 3 {height} {width}"]:
    """A crop of frost an image, in [0, 1]; texture_scale 1 is the scale of the photographs."""
    kinds = draws.integers(0, len(COLOURS))
    table = torch.tensor([COLOURS, GRAIN_DEVIATIONS], dtype=torch.float64, device=kinds.device)
    spreads = torch.tensor([BRIGHTNESS_DEVIATIONS, POLARITIES], dtype=torch.float64, device=kinds.device)
    colours, grains = table[:, kinds]
    brightness_deviations, polarities = spreads[:, kinds]
    means = colours + (brightness_deviations * draws.normal())[:, None]
    relief = crystals(height, width, draws=draws, needle_sigma=NEEDLE_SIGMA * texture_scale)
    grain = (grains * polarities[:, None])[:, :, None, None] * relief[:, None]
    return ((means[:, :, None, None] + grain) / 255).clamp_(0, 1)


def crystals(
    height: int, width: int, *, draws: Draws, needle_sigma: float
) -> Float64[Tensor, "batch {height} {width}"]:
    """Needles in the three directions of ice, 60 degrees apart; mean 0 and deviation 1 in each image."""
    noise = draws.normal(3, height, width)
    angles = draws.uniform(1, high=math.pi / 3) + torch.arange(3, device=noise.device) * (math.pi / 3)
    needles = smear(
        fractal(noise).flatten(0, 1)[:, None],
        angles=angles.flatten(),
        radius=2 * needle_sigma,
        sigma=needle_sigma,
    )
    relief = needles.view_as(noise).amax(dim=1)
    relief = relief - relief.mean(dim=(1, 2), keepdim=True)
    return relief / relief.square().mean(dim=(1, 2), keepdim=True).sqrt()


def fractal(noise: Float64[Tensor, "*batch h w"]) -> Float64[Tensor, "*batch h w"]:
    """White noise coloured so that its amplitude falls as frequency ** ROUGHNESS."""
    height, width = noise.shape[-2:]
    rows = torch.fft.fftfreq(height, dtype=noise.dtype, device=noise.device)[:, None]
    columns = torch.fft.rfftfreq(width, dtype=noise.dtype, device=noise.device)
    frequency = torch.hypot(rows, columns).clamp_(min=1 / max(height, width))
    return torch.fft.irfft2(torch.fft.rfft2(noise) * frequency**-ROUGHNESS, s=(height, width))
