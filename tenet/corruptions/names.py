"""Names and order of the corruptions. Imports only the standard library."""

from difflib import get_close_matches

CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
"""The 15 corruptions of the mean corruption error, in the order of the paper's tables."""

EXTRA_CORRUPTIONS = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The 4 held out for validation: reported separately, never part of the mean."""

CIFAR_BAR = (
    "blue_noise_sample",
    "brownish_noise",
    "checkerboard_cutout",
    "circular_motion_blur",
    "inverse_sparkles",
    "lines",
    "pinch_and_twirl",
    "ripple",
    "sparkles",
    "transverse_chromatic_abberation",
)
IMAGENET_BAR = (
    "blue_noise_sample",
    "brownish_noise",
    "caustic_refraction",
    "checkerboard_cutout",
    "cocentric_sine_waves",
    "inverse_sparkles",
    "perlin_noise",
    "plasma_noise",
    "single_frequency_greyscale",
    "sparkles",
)
"""Those of CIFAR-10-C-bar and of ImageNet-C-bar, as their authors spell them: never part of the mean of the 15."""

BAR_CORRUPTIONS = tuple(sorted({*CIFAR_BAR, *IMAGENET_BAR}))

SEVERITIES = (1, 2, 3, 4, 5)
GENERATOR_VERSION = 2
"""Raised whenever the pixels of the generator change: figures of two versions are figures of different images.

Part of every fingerprint and manifest."""


def bar_names(size: int) -> tuple[str, ...]:
    """The ten of the C-bar benchmark whose images, of 32 or 224 pixels, are nearer to `size` on a logarithmic scale."""
    return CIFAR_BAR if size**2 < 32 * 224 else IMAGENET_BAR


def check_cell(corruption: str, severity: int) -> None:
    """Raise ValueError unless (corruption, severity) is a cell of the benchmark; the message suggests the nearest name."""
    names = CORRUPTIONS + EXTRA_CORRUPTIONS + BAR_CORRUPTIONS
    if corruption not in names:
        nearest = get_close_matches(corruption, names, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"corruption={corruption!r} is unknown; did you mean {nearest!r}? Choose from {', '.join(names)}"
        )
    if severity not in SEVERITIES or isinstance(severity, bool):
        raise ValueError(f"severity={severity!r} is outside 1 to 5; choose from {SEVERITIES}")
