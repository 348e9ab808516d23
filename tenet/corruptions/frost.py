"""Synthetic frost textures, because the photographs of the official code may not be redistributed."""

import math
from functools import lru_cache

import torch
from jaxtyping import Float64
from torch import Tensor

from tenet.corruptions.random import Draws

# The five kinds of frost in CIFAR-10-C: turquoise ice, dark crystals, grey frost, and two of rime. For each,
# measured in levels: the mean colour, the deviation of a crop's brightness from it, the deviation of the
# grain, and whether crystals are brighter (1) or darker (-1) than the gaps.
COLOURS = ((74, 148, 165), (96, 108, 120), (138, 152, 164), (195, 200, 209), (206, 211, 220))
BRIGHTNESS_DEVIATIONS = (11, 9, 11, 7, 7)
GRAIN_DEVIATIONS = ((21, 12.5, 12.5), (33, 33, 33), (28, 28, 28), (20, 20, 20), (17, 17, 17))
POLARITIES = (1, 1, 1, -1, -1)

ROUGHNESS = 0.55  # amplitude ~ 1 / frequency ** ROUGHNESS; the power spectrum of the photographs is about 1/f
NEEDLE_LENGTH = 4.0  # in pixels of the photographs before scaling
# By the scale of the photographs, the blur of the grain in pixels of the image: at 0.2 the official code takes every
# fifth pixel, sharp; at 0.3 it interpolates; at 1 neighbouring pixels of a photograph differ little.
GRAIN_BLURS = {0.2: 0.0, 0.3: 0.43, 1.0: 0.49}


def frost_texture(
    height: int, width: int, *, draws: Draws, texture_scale: float, weight: float = 1.0
) -> Float64[Tensor, "batch 3 {height} {width}"]:
    """One crop of frost per image, in [0, weight]; texture_scale 1 is the scale of the photographs."""
    kinds = draws.integers(0, len(COLOURS))
    table = torch.tensor([COLOURS, GRAIN_DEVIATIONS], dtype=torch.float64, device=kinds.device)
    spreads = torch.tensor([BRIGHTNESS_DEVIATIONS, POLARITIES], dtype=torch.float64, device=kinds.device)
    colours, grains = table[:, kinds]
    brightness_deviations, polarities = spreads[:, kinds]
    means = colours + (brightness_deviations * draws.normal())[:, None]
    relief = crystals(height, width, draws=draws, texture_scale=texture_scale)
    contrasts = (grains * polarities[:, None] * (weight / 255))[:, :, None, None]
    means = (means * (weight / 255))[:, :, None, None]
    return torch.addcmul(means, relief[:, None], contrasts).clamp_(0, weight)


def crystals(
    height: int, width: int, *, draws: Draws, texture_scale: float
) -> Float64[Tensor, "batch {height} {width}"]:
    """Needles in three directions 60 degrees apart, as in ice; each image has mean 0 and deviation 1."""
    phases = draws.uniform(3, height, width // 2 + 1, high=2 * math.pi)
    angles = draws.uniform(1, high=math.pi / 3) + torch.arange(3, device=phases.device) * (math.pi / 3)
    rows, columns, spectrum = fractal_spectrum(height, width, texture_scale, phases.device)
    length = 2 * math.pi * NEEDLE_LENGTH * texture_scale
    one = phases.new_ones(())
    relief: Tensor | None = None
    # One direction after another, because the arrays of all three do not fit into a CPU's cache.
    for phase, angle in zip(phases.unbind(1), angles[:, :, None, None].unbind(1), strict=True):
        # A needle fades exponentially from its root: the amplitude falls as 1 / sqrt(1 + (2 pi length frequency)^2).
        along = columns * (angle.cos() * length) + rows * (angle.sin() * length)
        amplitude = torch.div(spectrum, torch.addcmul(one, along, along, out=along).sqrt_(), out=along)
        waves = torch.empty_like(phase, dtype=torch.complex128)
        torch.mul(phase.cos(), amplitude, out=waves.real)
        torch.mul(phase.sin_(), amplitude, out=waves.imag)
        needles = torch.fft.irfft2(waves, s=(height, width))
        relief = needles if relief is None else torch.maximum(relief, needles, out=relief)
    assert relief is not None
    relief -= relief.mean(dim=(1, 2), keepdim=True)
    return relief.div_(relief.square().mean(dim=(1, 2), keepdim=True).sqrt_())


@lru_cache(maxsize=8)
def fractal_spectrum(
    height: int, width: int, texture_scale: float, device: torch.device
) -> tuple[Float64[Tensor, "h 1"], Float64[Tensor, " half_w"], Float64[Tensor, "h half_w"]]:
    """Frequencies of the rows and of the columns, per pixel, and the amplitudes of isotropic frost."""
    rows = torch.fft.fftfreq(height, dtype=torch.float64, device=device)[:, None]
    columns = torch.fft.rfftfreq(width, dtype=torch.float64, device=device)
    frequency = torch.hypot(rows, columns).clamp_(min=1 / max(height, width))
    blur = torch.exp(-2 * (math.pi * GRAIN_BLURS[texture_scale] * frequency) ** 2)
    spectrum = frequency**-ROUGHNESS * blur
    # Here the inverse transform keeps the real part of a random phase, half of the power.
    spectrum[:, columns.remainder(0.5) == 0] *= 2**0.5
    return rows, columns, spectrum
