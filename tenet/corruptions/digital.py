"""Contrast, colour and compression."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from tenet.corruptions.operators import apply_separable, box_operator

Images = Float64[Tensor, "batch 3 h w"]
Levels = UInt8[Tensor, "batch h w 3"]

VALUES_PER_WORKER = 2**20


def contrast(images_01: Images, *, factor: float) -> Images:
    """Scale each channel's distance from its mean over the image by `factor`."""
    means = images_01.mean(dim=(2, 3), keepdim=True)
    return (images_01 - means) * factor + means


def brightness(images_01: Images, *, offset: float) -> Images:
    """Add `offset` to the value in HSV; hue and saturation stay."""
    value = images_01.amax(dim=1, keepdim=True)
    raised = (value + offset).clamp_(max=1.0)
    # black has no hue and no saturation, so it turns grey
    return torch.where(value > 0, images_01 * (raised / value), raised)


def saturate(images_01: Images, *, factor: float, offset: float) -> Images:
    """Scale the saturation in HSV by `factor` and add `offset`; hue and value stay."""
    value = images_01.amax(dim=1, keepdim=True)
    spread = value - images_01.amin(dim=1, keepdim=True)
    saturation = torch.where(value > 0, spread / value, 0.0)
    # How far each channel lies below the value, 0 to 1. Grey counts as red, because its hue is 0 in HSV.
    red = images_01.new_tensor([0.0, 1.0, 1.0]).view(1, 3, 1, 1)
    depth = torch.where(spread > 0, (value - images_01) / spread, red)
    return value * (1 - (saturation * factor + offset).clamp_(0, 1) * depth)


def pixelate(images: Levels, *, scale: float) -> Levels:
    """Shrink by `scale` and enlarge again with a box filter that rounds to 8 bits after each axis, as Pillow does."""
    if images.device.type == "cpu":
        return _pixelate_with_pillow(images, scale=scale)
    return pixelate_with_matrices(images, scale=scale)


def pixelate_with_matrices(images: Levels, *, scale: float) -> Levels:
    """`pixelate` on any device; on a CPU, Pillow is faster."""
    levels = images.permute(0, 3, 1, 2).double()
    height, width = levels.shape[-2:]
    for target_height, target_width in ((int(height * scale), int(width * scale)), (height, width)):
        columns = box_operator(levels.shape[-1], target_width, levels.device)
        rows = box_operator(levels.shape[-2], target_height, levels.device)
        # 1e-6: Pillow's fixed-point sums round halves up
        levels = (apply_separable(levels, columns=columns) + (0.5 + 1e-6)).floor_()
        levels = (apply_separable(levels, rows=rows) + (0.5 + 1e-6)).floor_()
    return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _pixelate_with_pillow(images: Levels, *, scale: float) -> Levels:
    from PIL import Image

    height, width = images.shape[1:3]
    size, box = (int(width * scale), int(height * scale)), Image.Resampling.BOX
    # Enlarged with a box filter, a pixel is a copy of the nearest one: Pillow's copies differ only between two pixels.
    is_tied = any(has_ties(*sizes) for sizes in zip(size, (width, height), strict=True))
    copy = box if is_tied else Image.Resampling.NEAREST

    def change(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        full = Image.frombuffer("RGB", (width, height), image, "raw", "RGB", 0, 1)
        restored = full.resize(size, box).resize((width, height), copy)
        return np.frombuffer(restored.tobytes(), np.uint8).reshape(image.shape)

    return _image_by_image(change, images)


def has_ties(size: int, enlarged: int) -> bool:
    """Whether the centre of an enlarged pixel, at (i + 1/2) size / enlarged, lies on the border of two pixels."""
    return 2 * enlarged // math.gcd(size, 2 * enlarged) % 2 == 1


def jpeg_compression(images: Levels, *, quality: float) -> Levels:
    """Compress with libjpeg at its default settings (chroma at half resolution) and decompress, on the CPU."""
    return _image_by_image(partial(_through_jpeg, quality=int(quality)), images.cpu()).to(images.device)


def _through_jpeg(image: UInt8[np.ndarray, "h w 3"], *, quality: int) -> UInt8[np.ndarray, "h w 3"]:
    from torchvision.io import decode_jpeg, encode_jpeg

    file = encode_jpeg(torch.from_numpy(image).permute(2, 0, 1), quality=quality)
    return decode_jpeg(file).permute(1, 2, 0).numpy()


def _image_by_image(change: Callable[[np.ndarray], np.ndarray], images: Levels) -> Levels:
    """Change each image on the CPU, in threads if there are many values."""
    levels = images.contiguous().numpy()
    changed = np.empty_like(levels)

    def change_part(start: int, end: int) -> None:
        for image, result in zip(levels[start:end], changed[start:end], strict=True):
            result[:] = change(image)

    # The libraries release the GIL. A small batch would be done before a thread has started.
    workers = max(1, min(torch.get_num_threads(), levels.size // VALUES_PER_WORKER))
    bounds = [len(levels) * worker // workers for worker in range(workers + 1)]
    if workers == 1:
        change_part(*bounds)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(change_part, bounds[:-1], bounds[1:]))
    return torch.from_numpy(changed)
