"""Blurs and the elastic transform: corruptions that move light between pixels."""

import math
from collections import Counter
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float64, Int64
from torch import Tensor

from tenet.corruptions.operators import (
    apply_separable,
    fold,
    gaussian_operator,
    to_whole_levels,
    zoom_operator,
    zoom_sizes,
)
from tenet.corruptions.random import Draws

Images = Float64[Tensor, "batch 3 h w"]

CPU = torch.device("cpu")
LARGE_KERNEL = 25  # non-zero weights: the Fourier transform is faster beyond
NEGLIGIBLE = 1e-12  # a weight too small to change a level


def gaussian_blur(images_01: Images, *, sigma: float) -> Images:
    """Gaussian filter with `sigma` in pixels, cut at 4 sigma; edge pixels repeat."""
    height, width = images_01.shape[-2:]
    rows = gaussian_operator(height, sigma, 4.0, "nearest", images_01.device)
    columns = gaussian_operator(width, sigma, 4.0, "nearest", images_01.device)
    return apply_separable(images_01, rows=rows, columns=columns)


def defocus_blur(images_01: Images, *, radius: float, antialias_sigma: float) -> Images:
    """Convolve with an antialiased disk; `radius` is in pixels."""
    kernel = disk(radius, antialias_sigma)
    reach = kernel.shape[0] // 2
    height, width = images_01.shape[-2:]
    by_spectrum = np.count_nonzero(kernel) > LARGE_KERNEL
    sizes = [size + 2 * reach for size in (height, width)]
    if by_spectrum:
        sizes = [fast_fourier_size(size) for size in sizes]
    rows, columns = (
        fold(torch.arange(-reach, padded - reach), size, boundary="mirror").to(images_01.device)
        for padded, size in zip(sizes, (height, width), strict=True)
    )
    padded = images_01.index_select(3, columns).index_select(2, rows)
    if by_spectrum:
        spectrum = kernel_spectrum(radius, antialias_sigma, *sizes, images_01.device)
        filtered = torch.fft.irfft2(torch.fft.rfft2(padded).mul_(spectrum), s=sizes)
        return filtered[..., reach : reach + height, reach : reach + width]
    blurred = torch.zeros_like(images_01)
    # A sum of shifted images in a fixed order: the result is bitwise independent of the batch.
    for (dy, dx), weight in np.ndenumerate(kernel):
        if weight > 0:
            blurred.add_(padded[..., dy : dy + height, dx : dx + width], alpha=float(weight))
    return blurred


def fast_fourier_size(size: int) -> int:
    """The smallest size from `size` on without prime factors above 5, for which Fourier transforms are fast."""
    while 60**20 % size != 0:  # 60 = 2 * 2 * 3 * 5
        size += 1
    return size


@lru_cache(maxsize=8)
def kernel_spectrum(
    radius: float, antialias_sigma: float, height: int, width: int, device: torch.device
) -> Float64[Tensor, "{height} {width}//2+1"]:
    """The Fourier transform of the disk around pixel (0, 0), which is real because the disk is symmetric."""
    kernel = torch.from_numpy(disk(radius, antialias_sigma))
    reach = len(kernel) // 2
    around = torch.zeros(height, width, dtype=torch.float64)
    around[: len(kernel), : len(kernel)] = kernel
    return torch.fft.rfft2(around.roll((-reach, -reach), (0, 1))).real.contiguous().to(device)


def disk(radius: float, antialias_sigma: float) -> np.ndarray:
    """A disk of unit weight, blurred by a Gaussian of 3 x 3 taps (5 x 5 beyond radius 8), as OpenCV blurs an array.

    The official array ends at radius 8, or at the disk's edge if that is larger, and is mirrored there. So the weights
    of radius 8 and 10 sum to 1.013 and 1.011, and brighten the image.
    """
    taps = 1 if radius <= 8 else 2
    reach = max(8, math.floor(radius))
    axis = np.arange(-reach, reach + 1)
    inside = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(np.float64)
    gaussian = gaussian_operator(len(axis), antialias_sigma, taps / antialias_sigma, "mirror", CPU).numpy()
    kernel = gaussian @ (inside / inside.sum()) @ gaussian.T
    used = np.flatnonzero(kernel.max(axis=0) > NEGLIGIBLE)
    kernel = kernel[used[0] : used[-1] + 1, used[0] : used[-1] + 1]
    return np.where(kernel > NEGLIGIBLE, kernel, 0.0)


def zoom_blur(images_01: Images, *, end: float, step: float) -> Images:
    """The mean of the image and its enlargements by 1, 1 + step, ... up to `end`."""
    zooms = np.arange(1, end, step)  # rounding may include `end` itself, as in the official code
    height, width = images_01.shape[-2:]
    # Many factors crop and enlarge to the same numbers of pixels: compute each such pair once.
    same = {(zoom_sizes(height, zoom), zoom_sizes(width, zoom)): float(zoom) for zoom in zooms}
    counts = Counter((zoom_sizes(height, zoom), zoom_sizes(width, zoom)) for zoom in zooms)
    total = images_01.clone()
    for sizes, zoom in same.items():
        rows = zoom_operator(height, zoom, images_01.device)
        columns = zoom_operator(width, zoom, images_01.device)
        total.add_(apply_separable(images_01, rows=rows, columns=columns), alpha=counts[sizes])
    return total / (len(zooms) + 1)


def motion_blur(images_01: Images, *, draws: Draws, radius: float, sigma: float) -> Images:
    """Smear along a random direction within 45 degrees of the horizontal; lengths in pixels."""
    angles = draws.uniform(low=-math.pi / 4, high=math.pi / 4)
    return to_whole_levels(smear(images_01, angles=angles, radius=radius, sigma=sigma))


def smear(
    images_01: Float64[Tensor, "batch channel h w"],
    *,
    angles: Float64[Tensor, "batch"],
    radius: float,
    sigma: float,
) -> Float64[Tensor, "batch channel h w"]:
    """ImageMagick's motion blur: half a Gaussian along the angle (radians), at whole pixels.

    Source: MotionBlurImage in ImageMagick's effect.c; edge pixels repeat.
    """
    steps = torch.arange(2 * math.ceil(radius) + 1)
    weights = torch.exp(-0.5 * (steps.double() / sigma) ** 2)
    weights /= weights.sum()
    steps, weights = steps[weights > 1e-4], weights[weights > 1e-4]  # smaller weights change no 8-bit level
    height, width = images_01.shape[-2:]
    flat = images_01.flatten(2)
    blurred = torch.zeros_like(flat)
    for step, weight in zip(steps.tolist(), (weights / weights.sum()).tolist(), strict=True):
        rows = shifted(height, torch.ceil(step * angles.sin() - 0.5).long())
        columns = shifted(width, torch.ceil(step * angles.cos() - 0.5).long())
        sources = (rows[:, :, None] * width + columns[:, None]).flatten(1)
        blurred.add_(flat.gather(2, sources[:, None].expand_as(flat)), alpha=weight)
    return blurred.view_as(images_01)


def shifted(size: int, offsets: Int64[Tensor, "batch"]) -> Int64[Tensor, "batch size"]:
    """Positions along an axis, moved by one offset per image and clamped to the edge."""
    return (torch.arange(size, device=offsets.device) + offsets[:, None]).clamp_(0, size - 1)


def glass_blur(images_01: Images, *, draws: Draws, sigma: float, reach: float, passes: float) -> Images:
    """Blur, replace pixels by a random neighbour within `reach` pixels in `passes` passes, blur again."""
    softened = to_whole_levels(gaussian_blur(images_01, sigma=sigma))
    flat = softened.flatten(2)
    for _ in range(int(passes)):
        sources = neighbour_sources(*softened.shape[-2:], draws=draws, reach=int(reach))
        flat = flat.gather(2, sources[:, None].expand_as(flat))
    return gaussian_blur(flat.view_as(images_01), sigma=sigma)


def neighbour_sources(height: int, width: int, *, draws: Draws, reach: int) -> Int64[Tensor, "batch pixels"]:
    """Index of the pixel whose value each pixel has after one pass of the local shuffle.

    The official pass visits pixels from the bottom right to the top left and copies to each the value
    of a neighbour at -reach to reach - 1 in both axes. (It is written as a swap, but on views of one
    array, which makes it a copy.) A neighbour later in raster order was visited earlier and passes on
    its new value. This forms chains of copies; pointer doubling finds their ends.
    """
    offsets = draws.integers(-reach, reach, 2, height, width)
    device = offsets.device
    pixels = torch.arange(height * width, device=device)
    rows, columns = pixels // width, pixels % width
    visited = (rows > reach) & (rows <= height - reach) & (columns > reach) & (columns <= width - reach)
    sources = pixels + torch.where(visited, (offsets[:, 0] * width + offsets[:, 1]).flatten(1), 0)
    if reach == 1:  # no neighbour is later in raster order
        return sources
    # Nodes: first the pixels' values after the pass, then their values before it, where chains end.
    passed_on = (sources > pixels) & visited[sources]
    nodes = torch.where(passed_on, sources, sources + height * width)
    ends = (pixels + height * width).expand_as(nodes)
    nodes = torch.cat([nodes, ends], dim=1)
    for _ in range((height * width - 1).bit_length()):
        nodes = nodes.gather(1, nodes)
    return nodes[:, : height * width] - height * width


def elastic_transform(
    images_01: Images, *, draws: Draws, displacement: float, sigma: float, shift: float
) -> Images:
    """A random affine map, then a smooth random displacement field; all lengths are fractions of the image size.

    The affine map moves three corners of a square by up to `shift` along each axis.
    """
    height, width = images_01.shape[-2:]
    size = min(height, width)
    affine = torch.stack(inverse_affine(height, width, draws=draws, shift=shift * size), dim=-1)
    moved = sample(images_01, affine, boundary="mirror")
    if displacement == 0:
        return moved
    fields = draws.uniform(2, height, width, low=-1.0, high=1.0)
    rows = gaussian_operator(height, sigma * size, 3.0, "reflect", images_01.device)
    columns = gaussian_operator(width, sigma * size, 3.0, "reflect", images_01.device)
    dx, dy = (apply_separable(fields, rows=rows, columns=columns) * (displacement * size)).unbind(1)
    x = torch.arange(width, device=images_01.device) + dx
    y = torch.arange(height, device=images_01.device)[:, None] + dy
    return sample(moved, torch.stack([x, y], dim=-1), boundary="reflect")


def inverse_affine(
    height: int, width: int, *, draws: Draws, shift: float
) -> tuple[Float64[Tensor, "batch h w"], Float64[Tensor, "batch h w"]]:
    """Source position (x, y) of each pixel under the affine map that moves three corners of a square."""
    side = min(height, width) // 3
    corners = torch.tensor([[side, side], [side, -side], [-side, -side]], dtype=torch.float64)
    moves = draws.uniform(3, 2, low=-shift, high=shift)
    corners = corners.to(moves.device)
    moved = corners + moves
    (ax, ay), (bx, by) = (edge.unbind(-1) for edge in (moved[:, 1] - moved[:, 0], moved[:, 2] - moved[:, 0]))
    determinant = (ax * by - bx * ay)[:, None, None]
    x = torch.arange(width, device=moves.device) - width // 2 - moved[:, 0, 0, None, None]
    y = torch.arange(height, device=moves.device)[:, None] - height // 2 - moved[:, 0, 1, None, None]
    # (u, v): coordinates along the two moved edges, which are also those along the original edges
    u = (x * by[:, None, None] - y * bx[:, None, None]) / determinant
    v = (y * ax[:, None, None] - x * ay[:, None, None]) / determinant
    edge_u, edge_v = corners[1] - corners[0], corners[2] - corners[0]
    return (
        width // 2 + corners[0, 0] + u * edge_u[0] + v * edge_v[0],
        height // 2 + corners[0, 1] + u * edge_u[1] + v * edge_v[1],
    )


def sample(images_01: Images, positions: Float64[Tensor, "batch h w 2"], *, boundary: str) -> Images:
    """Bilinear samples at positions (x, y) in pixels; boundaries as in `fold`."""
    sizes = positions.new_tensor([images_01.shape[-1], images_01.shape[-2]])
    mirror = boundary == "mirror"
    grid = 2 * positions / (sizes - 1) - 1 if mirror else (2 * positions + 1) / sizes - 1
    return F.grid_sample(images_01, grid, padding_mode="reflection", align_corners=mirror)
