"""The published parameters of each corruption, by image size.

Source: github.com/hendrycks/robustness, make_cifar_c.py (32), make_tinyimagenet_c.py (64) and
imagenet_c/corruptions.py (224). All values are published ones. Other sizes use the nearest set on a
logarithmic scale; only the reach of the blurs, a length in pixels, scales with the size (`PIXEL_FIELDS`).
The lengths of elastic_transform are fractions of the image size.
"""

import math

from tenet.corruptions.names import CIFAR_BAR, bar_names

Settings = tuple[float, ...]

FIELDS: dict[str, tuple[str, ...]] = {
    "gaussian_noise": ("deviation",),
    "shot_noise": ("photons",),  # at white
    "impulse_noise": ("share",),
    "speckle_noise": ("deviation",),  # at white
    "gaussian_blur": ("sigma",),
    "glass_blur": ("sigma", "reach", "passes"),
    "defocus_blur": ("radius", "antialias_sigma"),
    "motion_blur": ("radius", "sigma"),
    "zoom_blur": ("end", "step"),  # zoom factors from 1 to end
    "snow": ("mean", "deviation", "zoom", "threshold", "radius", "sigma", "kept"),
    "frost": ("image_weight", "frost_weight", "texture_scale"),
    "fog": ("thickness", "decay"),  # decay: of the plasma's roughness from one scale to the next
    # strength: the opacity of water, or the sigma of mud's edges
    "spatter": ("mean", "deviation", "sigma", "threshold", "strength", "mud"),
    "contrast": ("factor",),
    "brightness": ("offset",),  # added to the value in HSV
    "saturate": ("factor", "offset"),  # of the saturation in HSV
    "jpeg_compression": ("quality",),
    "pixelate": ("scale",),  # of the intermediate image
    "elastic_transform": ("displacement", "sigma", "shift"),  # fractions of the size
}

PIXEL_FIELDS = {
    "gaussian_blur": ("sigma",),
    "glass_blur": ("sigma",),
    "defocus_blur": ("radius",),
    "motion_blur": ("radius", "sigma"),
}

CIFAR: dict[str, tuple[Settings, ...]] = {
    "gaussian_noise": ((0.04,), (0.06,), (0.08,), (0.09,), (0.10,)),
    "shot_noise": ((500,), (250,), (100,), (75,), (50,)),
    "impulse_noise": ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)),
    "speckle_noise": ((0.06,), (0.1,), (0.12,), (0.16,), (0.2,)),
    "gaussian_blur": ((0.4,), (0.6,), (0.7,), (0.8,), (1,)),
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    "contrast": ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,)),
    "brightness": ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,)),
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    "jpeg_compression": ((80,), (65,), (58,), (50,), (40,)),
    "pixelate": ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,)),
    "elastic_transform": (
        (0, 0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    ),
}

TINY_IMAGENET: dict[str, tuple[Settings, ...]] = {
    "gaussian_noise": ((0.04,), (0.08,), (0.12,), (0.15,), (0.18,)),
    "shot_noise": ((250,), (100,), (50,), (30,), (15,)),
    "impulse_noise": ((0.01,), (0.02,), (0.05,), (0.08,), (0.14,)),
    "speckle_noise": ((0.15,), (0.2,), (0.25,), (0.3,), (0.35,)),
    "gaussian_blur": ((0.5,), (0.75,), (1,), (1.25,), (1.5,)),
    "glass_blur": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    "defocus_blur": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    "motion_blur": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    "zoom_blur": CIFAR["zoom_blur"],
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    "frost": ((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
    "fog": ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.6, 0),
        (0.65, 0.1, 0.8, 0.7, 0.6, 0),
        (0.65, 0.3, 1, 0.69, 0.6, 0),
        (0.65, 0.1, 0.7, 0.68, 0.6, 1),
        (0.65, 0.1, 0.5, 0.67, 0.6, 1),
    ),
    "contrast": ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),
    "brightness": ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
    "jpeg_compression": ((65,), (58,), (50,), (40,), (25,)),
    "pixelate": ((0.9,), (0.8,), (0.7,), (0.6,), (0.5,)),
    "elastic_transform": (
        (0, 0, 0.08),
        (0.05, 0.3, 0.06),
        (0.1, 0.08, 0.06),
        (0.1, 0.03, 0.03),
        (0.16, 0.03, 0.02),
    ),
}

IMAGENET: dict[str, tuple[Settings, ...]] = {
    "gaussian_noise": ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),
    "shot_noise": ((60,), (25,), (12,), (5,), (3,)),
    "impulse_noise": ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),
    "speckle_noise": ((0.15,), (0.2,), (0.35,), (0.45,), (0.6,)),
    "gaussian_blur": ((1,), (2,), (3,), (4,), (6,)),
    "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    "snow": (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "frost": ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "spatter": (
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
    "contrast": ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),
    "brightness": ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    "jpeg_compression": ((25,), (18,), (15,), (10,), (7,)),
    "pixelate": ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),
    # The official code scales these by 244, although the images have 224 pixels.
    "elastic_transform": (
        (2 * 244 / 224, 0.7 * 244 / 224, 0.1 * 244 / 224),
        (2 * 244 / 224, 0.08 * 244 / 224, 0.2 * 244 / 224),
        (0.05 * 244 / 224, 0.01 * 244 / 224, 0.02 * 244 / 224),
        (0.07 * 244 / 224, 0.01 * 244 / 224, 0.02 * 244 / 224),
        (0.12 * 244 / 224, 0.01 * 244 / 224, 0.02 * 244 / 224),
    ),
}

LEAST_BAR_SIZE = 8
# Of the C-bar benchmarks: `magnitude` by severity, from cifar10_c_bar.csv and imagenet_c_bar.csv of
# github.com/facebookresearch/augmentation-corruption. All lengths are fractions of the size.
CIFAR_BAR_MAGNITUDES: dict[str, Settings] = {
    "blue_noise_sample": (0.7, 1.4, 2.1, 3.5, 4.2),
    "brownish_noise": (2.5, 4, 5.5, 6.5, 7),
    "checkerboard_cutout": (1, 2, 3, 4, 5),
    "circular_motion_blur": (2.8, 3.6, 4.4, 5.2, 6),
    "inverse_sparkles": (1, 1.5, 2.5, 4.5, 5),
    "lines": (0.5, 1, 1.5, 2, 2.5),
    "pinch_and_twirl": (5.5, 6, 6.5, 8.5, 10),
    "ripple": (5.5, 6, 6.5, 7.5, 8),
    "sparkles": (0.7, 3.5, 5.6, 6.3, 7),
    "transverse_chromatic_abberation": (1, 2, 5, 9, 10),
}
IMAGENET_BAR_MAGNITUDES: dict[str, Settings] = {
    "blue_noise_sample": (0.8, 1.6, 2.4, 4, 5.6),
    "brownish_noise": (1, 2, 3, 4, 5),
    "caustic_refraction": (2.35, 3.2, 4.9, 6.6, 9.15),
    "checkerboard_cutout": (2, 3, 4, 5, 6),
    "cocentric_sine_waves": (3, 5, 8, 9, 10),
    "inverse_sparkles": (1, 2, 4, 9, 10),
    "perlin_noise": (4.6, 5.2, 5.8, 7.6, 8.8),
    "plasma_noise": (4.75, 7, 8.5, 9.25, 10),
    "single_frequency_greyscale": (1, 1.5, 2, 4.5, 5),
    "sparkles": (1, 2, 3, 5, 6),
}

PUBLISHED = {32: CIFAR, 64: TINY_IMAGENET, 224: IMAGENET}


def settings(corruption: str, *, severity: int, size: int) -> dict[str, float]:
    """The parameters of one cell, by name, for images whose shorter side has `size` pixels.

    Raises ValueError for a corruption of the C-bar benchmark that has images of another size.
    """
    if corruption not in FIELDS:
        return {"magnitude": bar_magnitude(corruption, severity=severity, size=size)}
    nearest = min(PUBLISHED, key=lambda published: abs(math.log(size / published)))
    published = map(float, PUBLISHED[nearest][corruption][severity - 1])
    values = dict(zip(FIELDS[corruption], published, strict=True))
    for field in PIXEL_FIELDS.get(corruption, ()):
        # Never below the smallest published reach: a blur of less than a pixel would do nothing.
        values[field] *= max(size, min(PUBLISHED)) / nearest
    return values


def bar_magnitude(corruption: str, *, severity: int, size: int) -> float:
    """Of a corruption of the C-bar benchmarks."""
    names = bar_names(size)
    if corruption not in names:
        raise ValueError(
            f"corruption={corruption!r} has no magnitudes for images of {size} pixels; choose from {', '.join(names)}"
        )
    if size < LEAST_BAR_SIZE:
        raise ValueError(
            f"corruption={corruption!r} needs images of at least {LEAST_BAR_SIZE} pixels, not {size}"
        )
    table = CIFAR_BAR_MAGNITUDES if names == CIFAR_BAR else IMAGENET_BAR_MAGNITUDES
    return float(table[corruption][severity - 1])
