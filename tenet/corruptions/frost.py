"""Synthetic frost textures, because the photographs of the official code may not be redistributed."""

import math
from collections.abc import Iterator
from functools import lru_cache

import torch
from jaxtyping import Float64
from torch import Tensor

from tenet.corruptions.operators import LEVEL_SLACK
from tenet.corruptions.random import Draws

# The five kinds of frost in CIFAR-10-C: turquoise ice, dark crystals, grey frost, and two of rime. For each, measured in
# levels: the mean colour, the deviation of the grain (negative where crystals are darker than the gaps), and the
# deviation of a crop's brightness from the mean.
KINDS = (
    ((74, 148, 165), (21, 12.5, 12.5), 11),
    ((96, 108, 120), (33, 33, 33), 9),
    ((138, 152, 164), (28, 28, 28), 11),
    ((195, 200, 209), (-20, -20, -20), 7),
    ((206, 211, 220), (-17, -17, -17), 7),
)

ROUGHNESS = 0.55  # amplitude ~ 1 / frequency ** ROUGHNESS; the power spectrum of the photographs is about 1/f
NEEDLE_LENGTH = 4.0  # in pixels of the photographs before scaling
# By the scale of the photographs, the blur of the grain in pixels of the image: at 0.2 the official code takes every
# fifth pixel, sharp; at 0.3 it interpolates; at 1 neighbouring pixels of a photograph differ little.
GRAIN_BLURS = {0.2: 0.0, 0.3: 0.43, 1.0: 0.49}


def frost_texture(
    height: int, width: int, *, draws: Draws, texture_scale: float, weight: float = 1.0
) -> Iterator[Float64[Tensor, "batch {height} {width}"]]:
    """Yield the red, green and blue of one crop of frost per image.

    Values are levels from 0 to 255 * `weight`, plus LEVEL_SLACK. texture_scale 1 is the scale of the photographs.
    """
    kinds = draws.integers(0, len(KINDS))
    colours, contrasts, deviations = kinds_table(kinds.device)[kinds].split((3, 3, 1), dim=1)
    colours = colours + deviations * draws.normal()[:, None]
    relief = crystals(height, width, draws=draws, texture_scale=texture_scale)
    # Bringing the relief to mean 0 and deviation 1 is part of the sum for each colour, to save passes over the pixels.
    mean = relief.mean(dim=(1, 2))[:, None]
    power = torch.linalg.vector_norm(relief, dim=(1, 2))[:, None].square() / (height * width)
    contrasts = contrasts * weight / (power - mean.square()).sqrt()
    offsets = colours * weight - contrasts * mean + LEVEL_SLACK
    for offset, contrast in zip(offsets.T[:, :, None, None], contrasts.T[:, :, None, None], strict=True):
        yield torch.addcmul(offset, relief, contrast).clamp_(LEVEL_SLACK, 255 * weight + LEVEL_SLACK)


@lru_cache(maxsize=8)
def kinds_table(device: torch.device) -> Float64[Tensor, "kinds 7"]:
    """The values of KINDS, one row for each kind."""
    rows = [(*colour, *contrast, deviation) for colour, contrast, deviation in KINDS]
    return torch.tensor(rows, dtype=torch.float64, device=device)


def crystals(
    height: int, width: int, *, draws: Draws, texture_scale: float
) -> Float64[Tensor, "batch {height} {width}"]:
    """Needles in three directions 60 degrees apart, as in ice. Neither mean nor deviation is defined."""
    phases = draws.uniform(3, height, width // 2 + 1, high=2 * math.pi)
    angles = draws.uniform(1, high=math.pi / 3) + torch.arange(3, device=phases.device) * (math.pi / 3)
    rows, columns, spectrum = fractal_spectrum(height, width, texture_scale, phases.device)
    length = 2 * math.pi * NEEDLE_LENGTH * texture_scale
    across, down = ((part * length).T[:, :, None, None] for part in (angles.cos(), angles.sin()))
    one = phases.new_ones(())
    relief: Tensor | None = None
    # One direction after another, because the arrays of all three do not fit into a CPU's cache.
    for direction, phase in enumerate(phases.unbind(1)):
        # A needle fades exponentially from its root: the amplitude falls as 1 / sqrt(1 + (2 pi length frequency)^2).
        along = columns * across[direction] + rows * down[direction]
        amplitude = torch.div(spectrum, torch.addcmul(one, along, along, out=along).sqrt_(), out=along)
        waves = torch.complex(phase.cos().mul_(amplitude), phase.sin().mul_(amplitude))
        needles = torch.fft.irfft2(waves, s=(height, width), norm="forward")
        relief = needles if relief is None else torch.maximum(relief, needles, out=relief)
    assert relief is not None
    return relief


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
