"""Pillow's enhancements on batches, with a factor for each image: 0 removes a quality, 1 changes nothing.

Equal to Pillow in every pixel. Source: Pillow's ImageEnhance.py and libImaging (Convert.c, Filter.c, Blend.c).
"""

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from tenet.augment.augmix import OPERATORS, apply_operators
from tenet.augment.chosen import replace_chosen

Images = UInt8[Tensor, "batch channel h w"]
Factors = Float[Tensor, " batch"]

# PixMix's set: AugMix's nine operators, then these.
ENHANCEMENTS = ("colour", "contrast", "brightness", "sharpness")
ALL_OPERATORS = (*OPERATORS, *ENHANCEMENTS)
OVERLAPS = ("saturate", "contrast", "brightness")
# AugMix's factor for a level l is SLOPE * l + LEAST: always a reduction at levels below 5.
SLOPE, LEAST = 0.18, 0.1


def enhance_colour(images: Images, factors: Factors) -> Images:
    """Toward grey."""
    return blend(luminance(images).expand_as(images), images, factors)


def enhance_contrast(images: Images, factors: Factors) -> Images:
    """Toward the mean luminance."""
    mean = (luminance(images).double().mean(dim=(1, 2, 3), keepdim=True) + 0.5).int().byte()
    return blend(mean.expand_as(images), images, factors)


def enhance_brightness(images: Images, factors: Factors) -> Images:
    """Toward black."""
    return blend(torch.zeros_like(images), images, factors)


def enhance_sharpness(images: Images, factors: Factors) -> Images:
    """Toward a smoothed image, whose border is the image's own."""
    channels = images.shape[1]
    kernel = torch.ones(channels, 1, 3, 3, device=images.device)
    kernel[:, :, 1, 1] = 5
    # Sums of integers below 2^24: exact in float32, whatever their order.
    sums = F.conv2d(images.float(), kernel, groups=channels)
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = (sums / 13 + 0.5).clamp(0, 255).byte()
    return blend(smooth, images, factors)


def blend(least: Images, images: Images, factors: Factors) -> Images:
    """`images` for a factor of 1, `least` for 0; truncated, as Pillow does within [0, 1]."""
    start = least.float()
    return (start + factors[:, None, None, None] * (images.float() - start)).clamp(0, 255).byte()


def luminance(images: Images) -> UInt8[Tensor, "batch 1 h w"]:
    """Pillow's conversion of RGB to greyscale, in integers."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor([19595, 38470, 7471], device=images.device)[:, None, None]
    return ((images.int() * weights).sum(1, keepdim=True) + 0x8000 >> 16).byte()


ENHANCERS = (enhance_colour, enhance_contrast, enhance_brightness, enhance_sharpness)


def apply_any_operator(
    images: Images,
    operators: Int64[Tensor, " batch"],
    levels: Float[Tensor, " batch"],
    signs: Float[Tensor, " batch"],
) -> Images:
    """Apply one of ALL_OPERATORS to each image."""
    nine = operators.where(operators < len(OPERATORS), -1)
    changed = apply_operators(images, nine, levels, signs)
    factors = SLOPE * levels + LEAST
    for name, enhance in zip(ENHANCEMENTS, ENHANCERS, strict=True):
        changed = replace_chosen(changed, operators == ALL_OPERATORS.index(name), enhance, images, factors)
    return changed
