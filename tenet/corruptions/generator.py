"""`corrupt`: one cell of the benchmark, for a batch of images."""

from collections.abc import Callable

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from tenet.corruptions import blur, digital, noise, weather
from tenet.corruptions.names import check_cell
from tenet.corruptions.operators import LEVEL_SLACK
from tenet.corruptions.parameters import settings
from tenet.corruptions.random import Draws, image_keys
from tenet.corruptions.spatter import spatter

# Values a chunk: large enough to hide the cost of a call, small enough for the caches of a CPU and
# for a fraction of a GPU's memory (float64, some ten tensors alive).
CHUNK_VALUES = {"cpu": 2**17, "cuda": 2**24}

RANDOM: dict[str, Callable[..., Tensor]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "speckle_noise": noise.speckle_noise,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "elastic_transform": blur.elastic_transform,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "spatter": spatter,
}
DETERMINISTIC: dict[str, Callable[..., Tensor]] = {
    "defocus_blur": blur.defocus_blur,
    "gaussian_blur": blur.gaussian_blur,
    "zoom_blur": blur.zoom_blur,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "saturate": digital.saturate,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
}


@torch.no_grad()
def corrupt(
    images: UInt8[Tensor, "batch h w 3"],
    *,
    corruption: str,
    severity: int,
    seed: int = 0,
    image_ids: Int64[Tensor, "batch"] | None = None,
) -> UInt8[Tensor, "batch h w 3"]:
    """The images under one corruption at one severity (1 to 5), on their device.

    What an image turns into depends on (seed, corruption, severity, its id) and its pixels alone, so
    any subset, order or split into batches gives the same result. The ids default to 0, 1, 2...
    At 32 x 32 the statistics are those of CIFAR-10-C; docs/corruptions.md says how sizes scale.
    Raises ValueError for an unknown corruption or severity, TypeError for images that are not uint8.
    Source: Hendrycks and Dietterich, ICLR 2019.
    """
    check_cell(corruption, severity)
    check_images(images)
    if image_ids is None:
        image_ids = torch.arange(len(images))
    if image_ids.shape != (len(images),):
        raise ValueError(
            f"image_ids has shape {list(image_ids.shape)}; give one id for each image, [{len(images)}]"
        )
    keys = image_keys(image_ids.to(images.device), seed=seed, corruption=corruption, severity=severity)
    height, width = images.shape[1:3]
    values = settings(corruption, severity=severity, size=min(height, width))
    step = max(1, CHUNK_VALUES.get(images.device.type, 2**20) // (3 * height * width))
    corrupted = torch.empty_like(images)
    for start in range(0, len(images), step):
        chunk = slice(start, start + step)
        images_01 = images[chunk].permute(0, 3, 1, 2).double().contiguous() / 255
        if corruption in RANDOM:
            result = RANDOM[corruption](images_01, draws=Draws(keys[chunk]), **values)
        else:
            result = DETERMINISTIC[corruption](images_01, **values)
        corrupted[chunk] = to_levels(result).permute(0, 2, 3, 1)
    return corrupted


def to_levels(images_01: Tensor) -> Tensor:
    """Clip to [0, 1] and cut to 8 bits, downwards as the official code does."""
    return (images_01.clamp(0, 1) * 255 + LEVEL_SLACK).to(torch.uint8)


def check_images(images: Tensor) -> None:
    """Raise TypeError or ValueError unless these are uint8 images with the channels last."""
    if images.dtype != torch.uint8:
        raise TypeError(f"images are {images.dtype}, not torch.uint8; give levels 0 to 255, not normalised")
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images have shape {list(images.shape)}, not [batch, h, w, 3]; move channels last")
