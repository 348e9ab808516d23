"""Contrast, colour and compression."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from tenet.corruptions.operators import apply_separable, box_operator

Images = Float64[Tensor, "batch 3 h w"]

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


def pixelate(images_01: Images, *, scale: float) -> Images:
    """Shrink by `scale` and enlarge again with Pillow's box filter: four passes, each rounded to 8 bits."""
    levels = images_01 * 255
    height, width = levels.shape[-2:]
    for target_height, target_width in ((int(height * scale), int(width * scale)), (height, width)):
        columns = box_operator(levels.shape[-1], target_width, levels.device)
        rows = box_operator(levels.shape[-2], target_height, levels.device)
        # 1e-6: Pillow's fixed-point sums round halves up
        levels = (apply_separable(levels, columns=columns) + (0.5 + 1e-6)).floor_()
        levels = (apply_separable(levels, rows=rows) + (0.5 + 1e-6)).floor_()
    return levels / 255


def jpeg_compression(images_01: Images, *, quality: float) -> Images:
    """Compress with libjpeg at Pillow's default settings (chroma at half resolution) and decompress."""
    levels = (images_01 * 255).round_().to(torch.uint8).permute(0, 2, 3, 1).cpu().contiguous().numpy()
    # Small images spend their time in Python code, which holds the GIL: threads help large batches only.
    workers = max(1, min(os.cpu_count() or 1, levels.size // VALUES_PER_WORKER))
    with ThreadPoolExecutor(workers) as pool:
        parts = pool.map(partial(_through_jpeg, quality=int(quality)), np.array_split(levels, workers))
    decoded = torch.from_numpy(np.concatenate(list(parts)))
    return decoded.to(images_01.device).permute(0, 3, 1, 2).double() / 255


def _through_jpeg(levels: np.ndarray, *, quality: int) -> np.ndarray:
    from PIL import Image

    decoded = np.empty_like(levels)
    for image, result in zip(levels, decoded, strict=True):
        stream = BytesIO()
        Image.fromarray(image).save(stream, format="JPEG", quality=quality)
        result[:] = np.asarray(Image.open(stream))
    return decoded
