"""Synthetic frost textures, because the photographs of the official code may not be redistributed."""

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from tenet.corruptions.blur import smear
from tenet.corruptions.random import Draws

# The five kinds of frost in CIFAR-10-C: turquoise ice, dark crystals, grey frost, and two of rime. For each,
# measured in levels: the mean colour, the deviation of a crop's brightness from it, the deviation of the
# grain, and whether crystals are brighter (1) or darker (-1) than the gaps.
COLOURS = ((74, 148, 165), (96, 108, 120), (138, 152, 164), (195, 200, 209), (206, 211, 220))
BRIGHTNESS_DEVIATIONS = (11, 9, 11, 7, 7)
GRAIN_DEVIATIONS = ((21, 12.5, 12.5), (33, 33, 33), (28, 28, 28), (20, 20, 20), (17, 17, 17))
POLARITIES = (1, 1, 1, -1, -1)

ROUGHNESS = 0.55  # amplitude ~ 1 / frequency ** ROUGHNESS; the power spectrum of the photographs is about 1/f
NEEDLE_SIGMA = 4.0  # in pixels of the photograph before scaling


def frost_texture(
    height: int, width: int, *, draws: Draws, texture_scale: float
) -> Float64[Tensor, "batch 3 {height} {width}"]:
    """One crop of frost per image, in [0, 1]; texture_scale 1 is the scale of the photographs."""
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
    """Needles in three directions 60 degrees apart, as in ice; each image has mean 0 and deviation 1."""
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
    """Colour white noise so that its amplitude is proportional to 1 / frequency ** ROUGHNESS."""
    height, width = noise.shape[-2:]
    rows = torch.fft.fftfreq(height, dtype=noise.dtype, device=noise.device)[:, None]
    columns = torch.fft.rfftfreq(width, dtype=noise.dtype, device=noise.device)
    frequency = torch.hypot(rows, columns).clamp_(min=1 / max(height, width))
    return torch.fft.irfft2(torch.fft.rfft2(noise) * frequency**-ROUGHNESS, s=(height, width))
