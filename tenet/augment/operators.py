"""The nine operators of AugMix on batches, with separate parameters for every sample.

They reproduce Pillow's operators on uint8 images, as the official AugMix calls them. All use one of two
functions: `look_up`, a table of 256 entries per channel (autocontrast, equalize, posterize, solarize: equal
to Pillow in every pixel), and `resample`, an affine map (rotate, shear, translate: equal up to rounding).
No operator reads a value back to the host, and no shape depends on the data.

Source: arXiv 1912.02781, section 3; google-research/augmix, augmentations.py.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

Images = UInt8[Tensor, "batch channel h w"]


def autocontrast(images: Images) -> Images:
    """Stretch each channel to the full range [0, 255]; a constant channel is unchanged."""
    return look_up(images, tables=autocontrast_tables(images))


def equalize(images: Images) -> Images:
    """Equalise each channel's histogram over [0, 255].

    A channel with fewer than 255 pixels below its highest value is unchanged.
    """
    return look_up(images, tables=equalize_tables(images))


def posterize(images: Images, *, bits: Int64[Tensor, "batch"]) -> Images:
    """Keep the highest `bits` bits (0 to 8) of each value."""
    return look_up(images, tables=point_tables(bits=bits, threshold=torch.full_like(bits, 256))[:, None])


def solarize(images: Images, *, threshold: Int64[Tensor, "batch"]) -> Images:
    """Invert all values of at least `threshold` (0 to 256; 256 inverts none)."""
    return look_up(
        images, tables=point_tables(bits=torch.full_like(threshold, 8), threshold=threshold)[:, None]
    )


def rotate(images: Images, *, degrees: Float[Tensor, "batch"]) -> Images:
    """Rotate each image about its centre, counter-clockwise for positive `degrees`; fill with black."""
    return _warp(images, degrees=degrees)


def shear_x(images: Images, *, factor: Float[Tensor, "batch"]) -> Images:
    """Shift row y left by `factor` * y pixels, where y is the distance from the top edge; fill with black."""
    return _warp(images, shear_x=factor)


def shear_y(images: Images, *, factor: Float[Tensor, "batch"]) -> Images:
    """Shift column x up by `factor` * x pixels, where x is the distance from the left edge; fill with black."""
    return _warp(images, shear_y=factor)


def translate_x(images: Images, *, pixels: Float[Tensor, "batch"]) -> Images:
    """Move each image left by `pixels`, or right if `pixels` is negative; fill with black."""
    return _warp(images, translate_x=pixels)


def translate_y(images: Images, *, pixels: Float[Tensor, "batch"]) -> Images:
    """Move each image up by `pixels`, or down if `pixels` is negative; fill with black."""
    return _warp(images, translate_y=pixels)


def autocontrast_tables(images: Images) -> UInt8[Tensor, "batch channel 256"]:
    """Map each channel's lowest value to 0 and its highest to 255. Entries outside this range are meaningless."""
    values = torch.arange(256, device=images.device)
    # int: when torch.compile targets a CPU, the minimum of many uint8 values is 0 (pytorch/pytorch issue 191499).
    pixels = images.flatten(2).int()
    lowest, highest = pixels.amin(2, keepdim=True).double(), pixels.amax(2, keepdim=True).double()
    span = highest - lowest
    # Float64 and Pillow's order of operations: fractions are truncated, so the last bit can change the result.
    # (torch computes `255 / span` as the reciprocal times 255.)
    scale = torch.full_like(span, 255) / span
    stretched = values * scale + (-lowest * scale)
    return torch.where(span > 0, stretched, values).int().byte()


def equalize_tables(images: Images) -> UInt8[Tensor, "batch channel 256"]:
    """Histogram equalisation: value v -> 255 * below(v) / below(max), in integers.

    below(v): the number of the channel's pixels with a value less than v; max: the channel's highest value.
    The table is the identity if below(max) is less than 255.
    """
    values = torch.arange(256, device=images.device)
    pixels = images.flatten(2).long()
    counts = torch.zeros(*images.shape[:2], 256, dtype=torch.int32, device=images.device)
    # Integer sums do not depend on the order in which a GPU adds.
    counts.scatter_add_(2, pixels, counts.new_ones(()).expand_as(pixels))
    below = counts.cumsum(2, dtype=torch.int32) - counts
    step = below.gather(2, pixels.amax(2, keepdim=True)) // 255
    spread = (step // 2 + below) // step.clamp(min=1)
    return torch.where(step > 0, spread.clamp(max=255), values).byte()


def point_tables(
    *, bits: Int64[Tensor, "*batch"], threshold: Int64[Tensor, "*batch"]
) -> UInt8[Tensor, "*batch 256"]:
    """Posterize, then solarize; 8 bits and a threshold of 256 change nothing."""
    values = torch.arange(256, device=bits.device)
    dropped = 8 - bits[..., None]
    posterized = values >> dropped << dropped
    return torch.where(posterized < threshold[..., None], posterized, 255 - posterized).byte()


def look_up(images: Images, *, tables: UInt8[Tensor, "batch #channel 256"]) -> Images:
    """Replace each value by its entry in the table of its sample and channel. A table may serve all channels."""
    values = images.flatten(2).long()
    tables = tables.expand(*images.shape[:2], 256)
    return tables.gather(2, values).view(images.shape)


def affine_matrices(
    *,
    degrees: Float[Tensor, "*batch"],
    shear_x: Float[Tensor, "*batch"],
    shear_y: Float[Tensor, "*batch"],
    translate_x: Float[Tensor, "*batch"],
    translate_y: Float[Tensor, "*batch"],
    size: tuple[int, int],
) -> Float[Tensor, "*batch 2 3"]:
    """Return affine maps from output positions to input positions, for images of `size` (h, w).

    Output positions are in pixels: the top left corner of the image is (0, 0), and the centre of its first pixel is
    (1/2, 1/2). Input positions are in the coordinates of `grid_sample`, where the edges are -1 and 1. Shears and
    translations are added to the rotation, so at most one of the five parameters of a sample should not be 0.
    """
    half_height, half_width = size[0] / 2, size[1] / 2
    cosine, sine = torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))
    shift_x = translate_x - cosine * half_width + sine * half_height
    shift_y = translate_y - sine * half_width - cosine * half_height
    to_x = torch.stack((cosine, shear_x - sine, shift_x), dim=-1) / half_width
    to_y = torch.stack((shear_y + sine, cosine, shift_y), dim=-1) / half_height
    return torch.stack((to_x, to_y), dim=-2)


def resample(images: Images, *, matrices: Float[Tensor, "batch 2 3"]) -> Images:
    """Resample images bilinearly at the input positions that `matrices` define (see `affine_matrices`).

    Follows Pillow: neighbours beyond the edge repeat the edge, positions outside the image are black, and fractions
    are truncated.
    """
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device)[:, None] + 0.5
    y = torch.arange(height, device=images.device)[:, None, None] + 0.5
    # Not a matrix product, which would lose precision under TF32 or autocast.
    from_x, from_y, shift = matrices[:, None, None].unbind(-1)
    grid = from_x * x + (from_y * y + shift)
    within = (grid >= -1) & (grid < 1)
    inside = within[..., 0] & within[..., 1]
    sampled = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    # Coordinates have rounding errors of a few last bits. Without this offset, truncation would turn an exact value
    # into the next lower one, and repeated identity maps would darken the image.
    rounding = 2 * 255 * max(height, width) * torch.finfo(torch.float32).eps
    return sampled.add_(rounding).mul_(inside[:, None]).byte()


def _warp(images: Images, **given: Tensor) -> Images:
    """Resample with the `given` parameters of `affine_matrices`; the others are 0."""
    zero = torch.zeros_like(next(iter(given.values())))
    names = ("degrees", "shear_x", "shear_y", "translate_x", "translate_y")
    height, width = images.shape[-2:]
    parameters = {name: given.get(name, zero) for name in names}
    return resample(images, matrices=affine_matrices(**parameters, size=(height, width)))
