"""Blurs and displacements: light moves between pixels, and what comes from outside the image is black."""

import itertools
import math
from functools import lru_cache

import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from torch.nn import functional as F

from tenet.corruptions.bar.noise import axes, by_image
from tenet.corruptions.operators import Operator, apply_separable, fold, gaussian_operator
from tenet.corruptions.random import Draws

Images = Float64[Tensor, "batch 3 h w"]
Plane = Float64[Tensor, "batch h w"]

PINCHES = 3  # along the shorter side
ROTATIONS = 21  # of the circular blur
REFRACTION = 4.0  # the index of the water
CUBIC = (1 / 6, 4 / 6, 1 / 6)  # the cubic B-spline at whole pixels


def sample_or_black(images_01: Images, rows: Plane, columns: Plane) -> Images:
    """Bilinear samples at these positions in pixels; black outside."""
    height, width = images_01.shape[-2:]
    grid = torch.stack([2 * columns / (width - 1) - 1, 2 * rows / (height - 1) - 1], dim=-1)
    return F.grid_sample(images_01, grid, padding_mode="zeros", align_corners=True)


def ripple(images_01: Images, *, draws: Draws, magnitude: float) -> Images:
    """Displace the rows by a wave along them, and the columns by another."""
    size = min(images_01.shape[-2:])
    lengths = draws.uniform(2, low=0.1, high=0.3) * size
    phases = draws.uniform(2, high=2 * math.pi)
    moved = [
        axis + 0.0025 * magnitude * size * (2 * math.pi * axis / by_image(length) + by_image(phase)).sin()
        for axis, length, phase in zip(axes(images_01), lengths.unbind(1), phases.unbind(1), strict=True)
    ]
    rows, columns = torch.broadcast_tensors(*moved)
    return sample_or_black(images_01, rows, columns)


def pinch_and_twirl(images_01: Images, *, draws: Draws, magnitude: float) -> Images:
    """Pinch and turn a disk in each square of a grid, to the left or to the right at random."""
    rows, columns = axes(images_01)
    height, width = images_01.shape[-2:]
    side = min(height, width) // PINCHES
    radius = side / 2
    cells = (rows // side, columns // side)
    is_inside = (cells[0] < height // side) & (cells[1] < width // side)
    signs = draws.integers(0, 2, height // side + 1, width // side + 1).double() * 2 - 1
    signs = signs[:, cells[0].long(), cells[1].long()]
    centre_y, centre_x = (cell * side + radius for cell in cells)
    down, right = rows - centre_y, columns - centre_x
    distance = (down.square() + right.square()).sqrt() / radius
    is_moved = is_inside & (distance <= 1) & (distance > 0)
    distance = torch.where(is_moved, distance, 1.0)
    nearer = (math.pi / 2 * distance).sin() ** -(0.04 * magnitude + 0.1)
    turn = math.pi / 20 * magnitude * (1 - distance).square()
    cosine, sine = turn.cos() * nearer, turn.sin() * nearer * signs
    moved_y, moved_x = centre_y + down * cosine - right * sine, centre_x + down * sine + right * cosine
    return sample_or_black(
        images_01, torch.where(is_moved, moved_y, rows), torch.where(is_moved, moved_x, columns)
    )


def transverse_chromatic_abberation(images_01: Images, *, draws: Draws, magnitude: float) -> Images:
    """Enlarge the colours by three different factors, from 1 on, in a random order."""
    height, width = images_01.shape[-2:]
    enlarged = []
    for factor in (0.0, 0.025 * magnitude, 0.05 * magnitude):
        operators = (spline_zoom(size, 1 + factor, images_01.device) for size in (height, width))
        rows, columns = operators
        levels = apply_separable(images_01, rows=rows, columns=columns) * 255
        enlarged.append((levels + 0.5).floor_().div_(255))  # scipy rounds to 8 bits
    orders = images_01.new_tensor(list(itertools.permutations(range(3)))).long()[draws.integers(0, 6)]
    chosen = orders[:, None, :, None, None].expand(-1, 1, -1, height, width)
    return torch.stack(enlarged, dim=1).gather(1, chosen)[:, 0]


@lru_cache(maxsize=32)
def spline_zoom(size: int, scale: float, device: torch.device) -> Operator:
    """Enlarge with cubic B-splines through no pixel, as scipy's zoom does without its prefilter, and take the middle."""
    enlarged = round(size * scale)
    start = (enlarged - size) // 2
    positions = (torch.arange(size, dtype=torch.float64) + start) * ((size - 1) / max(enlarged - 1, 1))
    sources, weights = spline_taps(positions, size)
    return torch.zeros(size, size, dtype=torch.float64).scatter_add_(1, sources, weights).to(device)


def spline_taps(
    positions: Float64[Tensor, "*n"], size: int
) -> tuple[Int64[Tensor, "*n 4"], Float64[Tensor, "*n 4"]]:
    """The four pixels whose cubic B-splines reach each position, and their weights; the border mirrors."""
    first = positions.floor()
    part = (positions - first)[..., None]
    sources = first.long()[..., None] + torch.arange(-1, 3)
    near, far = 2 / 3 - part**2 + part**3 / 2, (1 - part) ** 3 / 6
    rest = part**3 / 6
    weights = torch.cat([far, near, 1 - far - near - rest, rest], dim=-1)
    return fold(sources, size, boundary="mirror"), weights


def circular_motion_blur(images_01: Images, *, magnitude: float) -> Images:
    """The mean of 21 images turned about the centre by up to 1.5 degrees times the magnitude."""
    height, width = images_01.shape[-2:]
    rows, columns = (spline_prefilter(size, images_01.device) for size in (height, width))
    coefficients = apply_separable(images_01, rows=rows, columns=columns).flatten(2)
    sources, weights = rotation_taps(height, width, 1.5 * magnitude, images_01.device)
    pixels_first = coefficients.flatten(0, 1).T.contiguous()
    blurred = F.embedding_bag(sources, pixels_first, per_sample_weights=weights, mode="sum")
    return blurred.T.reshape(images_01.shape)


@lru_cache(maxsize=8)
def spline_prefilter(size: int, device: torch.device) -> Operator:
    """From pixels to the coefficients of cubic B-splines through them."""
    sources = fold(torch.arange(size)[:, None] + torch.arange(-1, 2), size, boundary="mirror")
    splines = torch.zeros(size, size, dtype=torch.float64)
    splines.scatter_add_(1, sources, torch.tensor(CUBIC, dtype=torch.float64).expand(size, -1))
    return splines.inverse().to(device)


@lru_cache(maxsize=2)  # 22 MB for images of 64 x 64 pixels
def rotation_taps(
    height: int, width: int, degrees: float, device: torch.device
) -> tuple[Int64[Tensor, "pixel tap"], Float64[Tensor, "pixel tap"]]:
    """The coefficients that each pixel of the mean over the rotations is made of, and their weights."""
    down, right = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in (height, width))
    down = down[:, None]
    steps = [2 * number / (ROTATIONS - 1) - 1 for number in range(ROTATIONS)]
    shares = [math.exp(-2 * step**2) for step in steps]
    sources, weights = [], []
    for step, share in zip(steps, shares, strict=True):
        angle = math.radians(step * degrees)
        rows = (height - 1) / 2 + down * math.cos(angle) + right * math.sin(angle)
        columns = (width - 1) / 2 - down * math.sin(angle) + right * math.cos(angle)
        is_inside = (rows >= 0) & (rows <= height - 1) & (columns >= 0) & (columns <= width - 1)
        row_ids, row_weights = spline_taps(rows, height)
        column_ids, column_weights = spline_taps(columns, width)
        row_weights = row_weights * is_inside[..., None] * (share / sum(shares))
        sources.append(row_ids[..., :, None] * width + column_ids[..., None, :])
        weights.append(row_weights[..., :, None] * column_weights[..., None, :])
    taps, shares_of_taps = (torch.stack(each, 2).view(height * width, -1) for each in (sources, weights))
    return taps.to(device), shares_of_taps.to(device)


def caustic_refraction(images_01: Images, *, draws: Draws, magnitude: float) -> Images:
    """As seen through moving water: its surface bends the rays and lights the ground."""
    height, width = images_01.shape[-2:]
    device, size = images_01.device, min(height, width)
    times = draws.uniform(low=0.5, high=2.0)
    surface = caustics(images_01, times=times, lengths=draws.uniform(low=0.75, high=1.25) * size)
    smooth = [gaussian_operator(n, 1.0, 4.0, "reflect", device) for n in (height, width)]
    surface = F.pad(apply_separable(surface, rows=smooth[0], columns=smooth[1]), (1, 1, 1, 1))
    slope_y = surface[:, 2:, 1:-1] - surface[:, :-2, 1:-1]
    slope_x = surface[:, 1:-1, 2:] - surface[:, 1:-1, :-2]
    # The normal's third part is the cosine of the angle of incidence. Snell's law gives the refracted ray, whose
    # parts along the surface are those of the normal times the difference of two cosines.
    cosine = (slope_y.square() + slope_x.square() + 1).rsqrt()
    refracted = (1 - (1 - cosine.square()) / REFRACTION**2).sqrt()
    bend = (refracted - cosine / REFRACTION) * cosine * (cosine < 1 - 1e-3) * (0.05 * magnitude * size)
    rows, columns = axes(images_01)
    moved = [
        axis + (slope * bend * 1000).round() / 1000 for axis, slope in ((rows, slope_y), (columns, slope_x))
    ]
    light = (slope_y - slope_x) * (0.2 * magnitude)
    return sample_or_black(images_01, *moved) + light[:, None]


def caustics(images: Images, *, times: Float64[Tensor, "batch"], lengths: Float64[Tensor, "batch"]) -> Plane:
    """The brightness of light on the ground of water, in [0, 1]; a pattern of `lengths` pixels repeats."""
    start_y, start_x = (
        (axis / by_image(lengths)).remainder(1) * (2 * math.pi) - 250 for axis in axes(images)
    )
    y, x = torch.broadcast_tensors(start_y, start_x)
    total = torch.ones_like(y)
    for step in range(1, 6):
        phase = by_image(times * (1 - 3.5 / step))
        y, x = (
            start_y + (phase - y).cos() + (phase + x).sin(),
            start_x + (phase - x).sin() + (phase + y).cos(),
        )
        far_y, far_x = start_y / ((y + phase).sin() / 0.005), start_x / ((x + phase).cos() / 0.005)
        total = total + (far_y.square() + far_x.square()).rsqrt()
    return (1.17 - (total / 5) ** 1.4).abs().pow(8).clamp_(0, 1)
