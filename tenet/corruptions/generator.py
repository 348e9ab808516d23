"""`corrupt`: one cell of the benchmark, for a batch of images; and the cells of a data set, as sources."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import tee

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from tenet.corruptions import blur, digital, noise, weather
from tenet.corruptions.bar import covers, warps
from tenet.corruptions.bar import noise as bar_noise
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, GENERATOR_VERSION, check_cell
from tenet.corruptions.operators import to_float64_01, to_levels, write_levels
from tenet.corruptions.parameters import settings
from tenet.corruptions.random import Draws, image_keys
from tenet.corruptions.spatter import spatter
from tenet.data import ImageBatch, ImageSource
from tenet.errors import DatasetError
from tenet.files.weights import checksum

# Values per chunk: large enough to hide the cost of a call, small enough for a CPU's caches and for a
# fraction of a GPU's memory (about ten float64 tensors are alive at a time). On a CPU, two images of 224 pixels.
CHUNK_VALUES = {"cpu": 300 * 2**10, "cuda": 2**24}

RANDOM: dict[str, Callable[..., Tensor]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "speckle_noise": noise.speckle_noise,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "elastic_transform": blur.elastic_transform,
    "snow": weather.snow,
    "spatter": spatter,
    "blue_noise_sample": bar_noise.blue_noise_sample,
    "brownish_noise": bar_noise.brownish_noise,
    "cocentric_sine_waves": bar_noise.cocentric_sine_waves,
    "perlin_noise": bar_noise.perlin_noise,
    "plasma_noise": bar_noise.plasma_noise,
    "single_frequency_greyscale": bar_noise.single_frequency_greyscale,
    "checkerboard_cutout": covers.checkerboard_cutout,
    "inverse_sparkles": covers.inverse_sparkles,
    "lines": covers.lines,
    "sparkles": covers.sparkles,
    "caustic_refraction": warps.caustic_refraction,
    "pinch_and_twirl": warps.pinch_and_twirl,
    "ripple": warps.ripple,
    "transverse_chromatic_abberation": warps.transverse_chromatic_abberation,
}
DETERMINISTIC: dict[str, Callable[..., Tensor]] = {
    "defocus_blur": blur.defocus_blur,
    "gaussian_blur": blur.gaussian_blur,
    "zoom_blur": blur.zoom_blur,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "saturate": digital.saturate,
    "circular_motion_blur": warps.circular_motion_blur,
}
# From 8-bit images [batch, h, w, 3] to the same in `out`, without the conversion to [0, 1].
RANDOM_ON_LEVELS: dict[str, Callable[..., None]] = {
    "impulse_noise": noise.impulse_noise,
    "frost": weather.frost,
    "fog": weather.fog,
}
# From 8-bit images to the same, for the whole batch at once.
ON_LEVELS: dict[str, Callable[..., Tensor]] = {
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
    """Apply one corruption at one severity (1 to 5); the result is on the device of the images.

    The result depends only on (seed, corruption, severity, image id) and the pixels, so any subset,
    order or split into batches returns the same images. The ids default to 0, 1, 2...
    At 32 x 32 the statistics match CIFAR-10-C; docs/corruptions.md describes other sizes.
    Raises ValueError for an unknown corruption or severity, or for one of the C-bar benchmarks that is defined for
    images of another size; TypeError for images that are not uint8.
    Source: Hendrycks and Dietterich, ICLR 2019; of the C-bar benchmarks Mintun et al. 2021.
    """
    check_cell(corruption, severity)
    check_channels_last(images)
    if image_ids is None:
        image_ids = torch.arange(len(images))
    if image_ids.shape != (len(images),):
        raise ValueError(
            f"image_ids has shape {list(image_ids.shape)}; give one id for each image, [{len(images)}]"
        )
    height, width = images.shape[1:3]
    values = settings(corruption, severity=severity, size=min(height, width))
    if corruption in ON_LEVELS:
        return ON_LEVELS[corruption](images, **values)
    if corruption in RANDOM or corruption in RANDOM_ON_LEVELS:
        keys = image_keys(image_ids.to(images.device), seed=seed, corruption=corruption, severity=severity)
    step = max(1, CHUNK_VALUES.get(images.device.type, 2**20) // (3 * height * width))
    corrupted = torch.empty_like(images)
    for start in range(0, len(images), step):
        chunk = slice(start, start + step)
        if corruption in RANDOM_ON_LEVELS:
            draws = Draws(keys[chunk])
            RANDOM_ON_LEVELS[corruption](images[chunk], out=corrupted[chunk], draws=draws, **values)
            continue
        images_01 = to_float64_01(images[chunk].permute(0, 3, 1, 2))
        if corruption in RANDOM:
            result = RANDOM[corruption](images_01, draws=Draws(keys[chunk]), **values)
        else:
            result = DETERMINISTIC[corruption](images_01, **values)
        write_levels(to_levels(result), out=corrupted[chunk].permute(0, 3, 1, 2))
    return corrupted


def check_channels_last(images: Tensor) -> None:
    """Raise TypeError or ValueError unless these are uint8 images with the channels last."""
    if images.dtype != torch.uint8:
        raise TypeError(f"images are {images.dtype}, not torch.uint8; give levels 0 to 255, not normalised")
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images have shape {list(images.shape)}, not [batch, h, w, 3]; move channels last")


def check_least_size(height: int, width: int) -> None:
    """Raise DatasetError for images of one row or one column, which can't be scaled down or blurred."""
    if min(height, width) < 2:
        raise DatasetError(
            f"images of {width} x {height} pixels can't be corrupted; they need at least 2 x 2. "
            "corruptions.names=[] measures clean images alone"
        )


class GeneratedCell(ImageSource):
    """`clean` images under one corruption; each batch is corrupted when it is read, on the images' device."""

    def __init__(self, clean: ImageSource, *, corruption: str, severity: int, seed: int) -> None:
        self.clean, self.labels, self.classes = clean, clean.labels, clean.classes
        self.corruption, self.severity, self.seed = corruption, severity, seed

    def batches(self, ids: Iterable[Int64[Tensor, " _"]], *, epoch: int = 0) -> Iterator[ImageBatch]:
        ids, again = tee(ids)
        for chosen, (images, labels) in zip(again, self.clean.batches(ids), strict=True):
            corrupted = corrupt(
                images, corruption=self.corruption, severity=self.severity, seed=self.seed, image_ids=chosen
            )
            yield ImageBatch(corrupted, labels)

    def fingerprint(self) -> str:
        parts = [self.clean.fingerprint(), self.corruption, self.severity, self.seed, GENERATOR_VERSION]
        return checksum(parts)[:16]


@dataclass(frozen=True)
class GeneratedCorruptions:
    """All cells of a data set, made from its `clean` images."""

    clean: ImageSource
    seed: int = 0
    names: tuple[str, ...] = (*CORRUPTIONS, *EXTRA_CORRUPTIONS)
    kind = "generated"

    def cell(self, corruption: str, severity: int) -> GeneratedCell:
        return GeneratedCell(self.clean, corruption=corruption, severity=severity, seed=self.seed)

    def identity(self) -> dict[str, object]:
        return {"kind": self.kind, "seed": self.seed}
