"""Corruptions as one would write them with NumPy, SciPy and Pillow: one image at a time, in the official order.

For the comparison in corruptions.py only. An image is uint8 [h, w, 3]; so is the result. Where the official code calls
OpenCV or scikit-image, this calls SciPy. Not included: motion_blur and snow, which need ImageMagick, and
elastic_transform, brightness and saturate, which need functions of scikit-image and OpenCV without a counterpart.
"""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage, signal

from tenet.corruptions.blur import disk
from tenet.corruptions.spatter import MUD, RELIEF, STRONG_EDGE, WATER, WEAK_EDGE

Array = np.ndarray


def to_levels(image_01: Array) -> Array:
    return np.uint8(np.clip(image_01, 0, 1) * 255)


def gaussian_noise(image: Array, *, deviation: float) -> Array:
    x = image / 255.0
    return to_levels(x + np.random.normal(size=x.shape, scale=deviation))


def speckle_noise(image: Array, *, deviation: float) -> Array:
    x = image / 255.0
    return to_levels(x + x * np.random.normal(size=x.shape, scale=deviation))


def shot_noise(image: Array, *, photons: float) -> Array:
    return to_levels(np.random.poisson(image / 255.0 * photons) / photons)


def impulse_noise(image: Array, *, share: float) -> Array:
    x = image / 255.0
    hit = np.random.random(x.shape) <= share
    salt = np.random.random(x.shape) <= 0.5
    x[hit & salt] = 1
    x[hit & ~salt] = 0
    return to_levels(x)


def defocus_blur(image: Array, *, radius: float, antialias_sigma: float) -> Array:
    kernel = disk(radius, antialias_sigma)
    reach = len(kernel) // 2
    x = np.pad(image / 255.0, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    channels = [signal.convolve(x[:, :, channel], kernel, mode="valid") for channel in range(3)]
    return to_levels(np.stack(channels, axis=2))


def gaussian_blur(image: Array, *, sigma: float) -> Array:
    x = image / 255.0
    return to_levels(np.stack([_smooth(x[:, :, channel], sigma) for channel in range(3)], axis=2))


def zoom_blur(image: Array, *, end: float, step: float) -> Array:
    x = (image / 255.0).astype(np.float32)
    total = np.zeros_like(x)
    factors = np.arange(1, end, step)
    size = len(x)
    for factor in factors:
        cropped = int(np.ceil(size / factor))
        top = (size - cropped) // 2
        middle = x[top : top + cropped, top : top + cropped]
        zoomed = ndimage.zoom(middle, (factor, factor, 1), order=1)
        trim = (len(zoomed) - size) // 2
        total += zoomed[trim : trim + size, trim : trim + size]
    return to_levels((x + total) / (len(factors) + 1))


def frost(
    image: Array, *, photographs: list[Path], image_weight: float, frost_weight: float, texture_scale: float
) -> Array:
    """Read one of the photographs from its file for every image, as the official code does."""
    with Image.open(photographs[np.random.randint(len(photographs))]) as opened:
        size = int(opened.width * texture_scale), int(opened.height * texture_scale)
        picture = np.asarray(opened if texture_scale == 1 else opened.resize(size, Image.Resampling.BILINEAR))
    height, width = image.shape[:2]
    top, left = np.random.randint(len(picture) - height), np.random.randint(picture.shape[1] - width)
    return np.uint8(
        np.clip(
            image_weight * image + frost_weight * picture[top : top + height, left : left + width], 0, 255
        )
    )


def fog(image: Array, *, thickness: float, decay: float) -> Array:
    x = image / 255.0
    brightest = x.max()
    cloud = plasma(1 << (len(x) - 1).bit_length(), decay)[: len(x), : len(x)]
    return to_levels((x + thickness * cloud[..., None]) * brightest / (brightest + thickness))


def plasma(size: int, decay: float) -> Array:
    heights = np.empty((size, size))
    heights[0, 0] = 0
    step, reach = size, 100.0

    def displaced(total: Array) -> Array:
        return total / 4 + reach * np.random.uniform(-reach, reach, total.shape)

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        rows = corners + np.roll(corners, -1, axis=0)
        heights[half::step, half::step] = displaced(rows + np.roll(rows, -1, axis=1))
        centres = heights[half::step, half::step]
        above, beside = centres + np.roll(centres, 1, axis=0), corners + np.roll(corners, -1, axis=1)
        heights[::step, half::step] = displaced(above + beside)
        left, below = centres + np.roll(centres, 1, axis=1), corners + np.roll(corners, -1, axis=0)
        heights[half::step, ::step] = displaced(left + below)
        step, reach = half, reach / decay
    heights -= heights.min()
    return heights / heights.max()


def contrast(image: Array, *, factor: float) -> Array:
    x = image / 255.0
    means = x.mean(axis=(0, 1), keepdims=True)
    return to_levels((x - means) * factor + means)


def pixelate(image: Array, *, scale: float) -> Array:
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((int(width * scale), int(height * scale)), Image.Resampling.BOX)
    return np.uint8(small.resize((width, height), Image.Resampling.BOX))


def jpeg_compression(image: Array, *, quality: float) -> Array:
    stream = BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=int(quality))
    return np.uint8(Image.open(stream))


def spatter(
    image: Array,
    *,
    mean: float,
    deviation: float,
    sigma: float,
    threshold: float,
    strength: float,
    mud: float,
) -> Array:
    x = np.array(image, dtype=np.float32) / 255
    liquid = _smooth(np.random.normal(size=x.shape[:2], loc=mean, scale=deviation), sigma)
    liquid[liquid < threshold] = 0
    if mud:
        cover = _smooth(np.where(liquid > threshold, 1, 0).astype(np.float32), strength)
        cover[cover < 0.8] = 0
        return to_levels(x * (1 - cover[..., None]) + cover[..., None] * np.array(MUD))
    layer = np.uint8(np.clip(liquid, 0, 1) * 255)
    distance = np.minimum(ndimage.distance_transform_edt(~_edges(layer)), 20)
    ranks = _equalized(ndimage.uniform_filter(distance, 3, mode="mirror").astype(np.uint8))
    lit = np.clip(ndimage.correlate(ranks.astype(np.float32), np.array(RELIEF), mode="mirror"), 0, 255)
    cover = layer * np.round(ndimage.uniform_filter(lit, 3, mode="mirror"))
    cover *= strength / max(cover.max(), 1e-9)
    return to_levels(x + cover[..., None] * np.array(WATER))


def _smooth(values: Array, sigma: float) -> Array:
    return ndimage.gaussian_filter(values, sigma, mode="nearest", truncate=4.0)


def _edges(levels: Array) -> Array:
    dx, dy = (ndimage.sobel(levels.astype(np.int32), axis=axis, mode="nearest") for axis in (1, 0))
    strength = np.abs(dx) + np.abs(dy)
    near = np.pad(strength, 1)
    height, width = levels.shape

    def at(row: int, column: int) -> Array:
        return near[1 + row : 1 + row + height, 1 + column : 1 + column + width]

    flat, steep = np.abs(dy) < np.abs(dx) * 0.4142, np.abs(dy) > np.abs(dx) * 2.4142
    along_x = (strength > at(0, -1)) & (strength >= at(0, 1))
    along_y = (strength > at(-1, 0)) & (strength >= at(1, 0))
    rising = (strength > at(-1, 1)) & (strength > at(1, -1))
    falling = (strength > at(-1, -1)) & (strength > at(1, 1))
    ridge = np.where(flat, along_x, np.where(steep, along_y, np.where(dx * dy < 0, rising, falling)))
    weak = ridge & (strength > WEAK_EDGE)
    return ndimage.binary_propagation(weak & (strength > STRONG_EDGE), np.ones((3, 3)), mask=weak)


def _equalized(values: Array) -> Array:
    up_to = np.bincount(values.ravel(), minlength=256).cumsum()
    first = up_to[values.min()]
    spread = up_to[-1] - first
    return (
        values if spread == 0 else np.uint8(np.clip(np.round((up_to - first) / spread * 255), 0, 255))[values]
    )


PLAIN: dict[str, Callable[..., Any]] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "zoom_blur": zoom_blur,
    "frost": frost,
    "fog": fog,
    "contrast": contrast,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
    "speckle_noise": speckle_noise,
    "gaussian_blur": gaussian_blur,
    "spatter": spatter,
}
