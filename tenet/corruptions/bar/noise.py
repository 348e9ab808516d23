"""Noise and patterns that are added to the image."""

import math
from functools import lru_cache

import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

from tenet.corruptions.random import Draws

Images = Float64[Tensor, "batch 3 h w"]

OCTAVES = (1, 2, 4, 8, 16)  # of Perlin noise
CELLS = 7  # of its coarsest octave, along the shorter side
MAX_STEPS = 6  # of plasma


def axes(images: Images) -> tuple[Tensor, Tensor]:
    """Positions of the rows [h, 1] and of the columns [w] in pixels."""
    height, width = images.shape[-2:]
    rows, columns = (torch.arange(n, dtype=torch.float64, device=images.device) for n in (height, width))
    return rows[:, None], columns


def by_image(values: Shaped[Tensor, "batch"]) -> Shaped[Tensor, "batch 1 1"]:
    return values[:, None, None]


def single_frequency_greyscale(images_01: Images, *, draws: Draws, magnitude: float) -> Images:
    """Add one plane wave of a random frequency, up to half a cycle a pixel."""
    rows, columns = axes(images_01)
    first = draws.uniform(low=-math.pi, high=math.pi)
    second = draws.uniform(low=-1.0) * first.abs()
    is_swapped = draws.uniform() < 0.5
    along_x, along_y = torch.where(is_swapped, second, first), torch.where(is_swapped, first, second)
    phases = by_image(draws.uniform(high=2 * math.pi))
    wave = (columns * by_image(along_x) + rows * by_image(along_y) + phases).sin()
    return images_01.add_(wave[:, None], alpha=19.6 * magnitude / 255)


def cocentric_sine_waves(images_01: Images, *, draws: Draws, magnitude: float) -> Images:
    """Add saw-toothed rings around a random point, whose radius a sine of the angle modulates."""
    rows, columns = axes(images_01)
    height, width = images_01.shape[-2:]
    size = min(height, width)
    x, y = by_image(draws.uniform(high=float(width))), by_image(draws.uniform(high=float(height)))
    frequencies = by_image(draws.uniform(high=10.0))
    amplitudes, ring_widths = (by_image(draws.uniform(high=size / 10)) for _ in range(2))
    radii = ((columns - x).square() + (rows - y).square()).sqrt()
    radii = radii + (torch.atan2(columns - x, rows - y) * frequencies).sin() * amplitudes
    wave = radii.remainder(ring_widths) / ring_widths - 0.5
    return images_01.add_(wave[:, None], alpha=12.8 * magnitude / 255)


def plasma_noise(images_01: Images, *, draws: Draws, magnitude: float) -> Images:
    """Mix with the colours of a plane that waves displace, finer in each of 4 to 6 steps."""
    rows, columns = axes(images_01)
    size = min(images_01.shape[-2:])
    times = by_image(draws.uniform(high=6 * math.pi))
    steps = by_image(draws.integers(4, MAX_STEPS + 1))
    sharpness = by_image(draws.uniform(low=0.5))
    scales = by_image(draws.uniform(low=0.075, high=0.2)) * size
    x, y = columns / scales + 0 * rows, rows / scales + 0 * columns
    for step in range(MAX_STEPS):
        phases, reach = times / 1.15**step, (2.25 - sharpness) ** -step * (step < steps)
        across, down = (y * 1.93**step + phases).cos() * reach, (x * 1.93**step + phases).sin() * reach
        x, y = x + across - 0.3 * down, y + down + 0.3 * across
    colours = [(x - times).sin(), ((x + y + times.sin()) / 2).sin(), (y + times).sin()]
    return images_01.lerp(torch.stack(colours, dim=1), 6.4 * magnitude / 255)


def perlin_noise(images_01: Images, *, draws: Draws, magnitude: float) -> Images:
    """Mix with a grey cloud: the turbulence of Perlin noise over five octaves, all of one lattice of gradients."""
    height, width = images_01.shape[-2:]
    unit = CELLS / min(height, width)
    lattice = [math.ceil(OCTAVES[-1] * unit * length) + 1 for length in (height, width)]
    gradients = draws.uniform(2, *lattice, low=-1.0)
    gradients = gradients / gradients.square().sum(dim=1, keepdim=True).sqrt()
    cloud = torch.zeros_like(images_01[:, 0])
    for octave in OCTAVES:
        cloud += gradient_noise(images_01, gradients, unit=unit * octave).abs_() / octave
    cloud = (0.5 * cloud + 0.5).clamp_(0, 1)
    return images_01.lerp(cloud[:, None].expand_as(images_01), 0.05 * magnitude)


def gradient_noise(
    images: Images, gradients: Float64[Tensor, "batch 2 rows columns"], *, unit: float
) -> Float64[Tensor, "batch h w"]:
    """Perlin's noise, times 1.5, at the pixels of the images; unit: of the lattice, a pixel."""
    y, x = (axis * unit for axis in axes(images))
    top, left = y.floor(), x.floor()
    heights = [
        gradients[:, 0, (top + down).long(), (left + right).long()] * (y - top - down)
        + gradients[:, 1, (top + down).long(), (left + right).long()] * (x - left - right)
        for down in (0, 1)
        for right in (0, 1)
    ]
    fade_y, fade_x = (part.square() * (3 - 2 * part) for part in (y - top, x - left))
    fade_y, fade_x = fade_y.expand_as(heights[0]), fade_x.expand_as(heights[0])
    above, below = heights[0].lerp(heights[1], fade_x), heights[2].lerp(heights[3], fade_x)
    return above.lerp(below, fade_y).mul_(1.5)


def blue_noise_sample(images_01: Images, *, draws: Draws, magnitude: float) -> Images:
    """Blacken the pixels at which noise of high frequencies is low."""
    power = distances_from_zero(*images_01.shape[-2:], images_01.device)
    return images_01.mul_(spectral_noise(power, draws=draws, channels=1) > 0.3 * magnitude - 2.5)


def brownish_noise(images_01: Images, *, draws: Draws, magnitude: float) -> Images:
    """Add noise whose amplitude falls with the square of the frequency, to each channel its own."""
    power = 1 / (distances_from_zero(*images_01.shape[-2:], images_01.device).square() + 1)
    return images_01.add_(spectral_noise(power, draws=draws, channels=3), alpha=6.4 * magnitude / 255)


def spectral_noise(
    power: Float64[Tensor, "h w"], *, draws: Draws, channels: int
) -> Float64[Tensor, "batch {channels} h w"]:
    """Noise of deviation 1 with these amplitudes, from frequency (-1/2, -1/2) on, and random phases.

    As in the official code, phases of opposite places are equal and the real part is taken.
    """
    count = power.numel()
    phases = draws.uniform(channels, -(-count // 2), high=2 * math.pi)
    phases = torch.cat([phases, phases[..., : count // 2].flip(-1)], dim=-1).unflatten(-1, power.shape)
    spectrum = torch.polar(power.expand_as(phases), phases)
    shifts = [length // 2 for length in power.shape]
    noise = torch.fft.ifft2(spectrum.roll(shifts, (-2, -1))).real
    return noise / noise.std(dim=(-2, -1), keepdim=True, correction=0)


@lru_cache(maxsize=8)
def distances_from_zero(height: int, width: int, device: torch.device) -> Float64[Tensor, "{height} {width}"]:
    """Of each frequency, from (-1/2, -1/2) on, in cycles over the shorter side."""
    rows = (torch.arange(height, dtype=torch.float64)[:, None] / height - 0.5) * min(height, width)
    columns = (torch.arange(width, dtype=torch.float64) / width - 0.5) * min(height, width)
    return (rows.square() + columns.square()).sqrt().to(device)
