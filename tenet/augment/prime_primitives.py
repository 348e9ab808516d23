"""PRIME's three primitives as plain functions of images in [0, 1] and their draws.

Source: Modas et al., ECCV 2022 (arXiv 2112.13547), section 3; amodas/PRIME-augmentations.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Images = Float[Tensor, "batch channel h w"]


class FilterDraw(NamedTuple):
    """sigma: the noise's standard deviation. normal: standard normal noise of each image's 3x3 kernel."""

    sigma: float
    normal: Float[Tensor, "batch 3 3"]


class ColourDraw(NamedTuple):
    """temperature: the variance of each sine's coefficient. first: the lowest frequency. normal: the standard normal
    coefficients of frequencies first, first + 1, ..."""

    temperature: float
    first: int
    normal: Float[Tensor, "batch channel frequency"]


class DiffeoDraw(NamedTuple):
    """temperature: the strength of the one displacement of all images. normal_x, normal_y: its standard normal
    coefficients, for frequencies 1, 2, ... along columns and rows."""

    temperature: float
    normal_x: Float[Tensor, "cut cut"]
    normal_y: Float[Tensor, "cut cut"]


def filter_spectrum(images: Images, draw: FilterDraw) -> Images:
    """Correlate each image with a random 3x3 kernel of its own, the same for all channels.

    Without noise, the kernel is the identity shifted by one pixel along both axes, as in the official code.
    """
    batch, channels = images.shape[:2]
    kernels = draw.sigma * draw.normal
    kernels[:, 2, 2] += 1
    weights = kernels.repeat_interleave(channels, dim=0)[:, None]
    filtered = F.conv2d(
        images.reshape(1, batch * channels, *images.shape[2:]), weights, padding=1, groups=batch * channels
    )
    return filtered.view_as(images).clamp(0, 1).nan_to_num(nan=1.0)


def change_colours(images: Images, draw: ColourDraw) -> Images:
    """Add a random sum of sines of each value to it, with coefficients for each image and channel."""
    scale = math.sqrt(draw.temperature)
    changed = images.clone()
    angle = math.pi * images
    for offset, coefficients in enumerate(draw.normal.unbind(2)):
        # One frequency at a time: all of them together would take as many times the images' memory.
        changed.addcmul_(torch.sin((draw.first + offset) * angle), scale * coefficients[:, :, None, None])
    return changed.clamp(0, 1)


def displacement(draw: DiffeoDraw, *, size: int) -> Float[Tensor, "2 size size"]:
    """How far each pixel of a square image moves, in pixels: along x, along y."""
    cut = len(draw.normal_x)
    frequencies = torch.arange(1, cut + 1, device=draw.normal_x.device)
    radius = (frequencies[:, None] ** 2 + frequencies**2).float().sqrt()
    weights = torch.where(radius < cut + 0.5, 1 / radius, 0)
    positions = torch.linspace(0, 1, size, device=draw.normal_x.device)
    sines = torch.sin(math.pi * frequencies[:, None] * positions)
    normal = torch.stack([draw.normal_x, draw.normal_y]) * weights
    # Sums written out as in an einsum of float64: TF32 would lose digits.
    fields = torch.einsum("dij,ix,jy->dyx", normal.double(), sines.double(), sines.double())
    return (math.sqrt(draw.temperature) * size * fields).float()


def deform(images: Images, draw: DiffeoDraw) -> Images:
    """Move all images' pixels by one smooth random displacement. The images must be square."""
    size = images.shape[-1]
    move = displacement(draw, size=size)
    steps = torch.arange(size, device=images.device)
    x = (steps - move[0]).clamp(0, size - 1)
    y = (steps[:, None] - move[1]).clamp(0, size - 1)
    grid = torch.stack([x, y], dim=-1) * (2 / (size - 1)) - 1
    grid = grid.expand(len(images), -1, -1, -1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)


def temperature_range(size: int, cut: int) -> tuple[float, float]:
    """The lowest and the highest temperature at which a displacement of `cut` frequencies is visible and smooth."""
    frequencies = cut + 1e-6
    lowest = 1 / (math.pi * size**2 * math.log(frequencies))
    return lowest, max(lowest, 4 / (math.pi**3 * frequencies**2 * math.log(frequencies)))
