"""Splits of images by frequency, and by amplitude and phase. Plain functions without draws.

Sources: Yucel et al., ICCV 2023 (arXiv 2307.11823; MKYucel/hybrid_augment); Chen et al., ICCV 2021 (arXiv 2108.08487;
iCGY96/APR).
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F


def gaussian_kernel(size: int, sigma: float) -> Float[Tensor, " size"]:
    """One-dimensional weights that sum to 1. size: odd."""
    positions = torch.arange(size) - (size - 1) / 2
    weights = torch.exp(-0.5 * (positions / sigma) ** 2)
    return weights / weights.sum()


def low_pass(
    images: Float[Tensor, "batch channel h w"], *, size: int = 3, sigma: float = 0.5
) -> Float[Tensor, "batch channel h w"]:
    """Gaussian blur with reflected borders; what it removes are the high frequencies."""
    kernel = gaussian_kernel(size, sigma).to(images)
    channels, pad = images.shape[1], size // 2
    padded = F.pad(images, (pad, pad, pad, pad), mode="reflect")
    rows = F.conv2d(padded, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(rows, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def recombine(
    *, amplitude: Float[Tensor, "batch channel h w"], phase: Float[Tensor, "batch channel h w"]
) -> Float[Tensor, "batch channel h w"]:
    """Images with the Fourier amplitude of `amplitude` and the phase of `phase`, over channels, rows and columns.

    Values may leave the range of the images.
    """
    axes = (1, 2, 3)
    spectrum = torch.polar(torch.fft.fftn(amplitude, dim=axes).abs(), torch.fft.fftn(phase, dim=axes).angle())
    return torch.fft.ifftn(spectrum, dim=axes).real


def to_bytes(images: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Truncate values in units of 1/255 toward zero, and wrap them modulo 256.

    This is what the official codes' conversion to uint8 does on x86: a few percent of the pixels, which lie out of range,
    turn from dark to bright and back.
    """
    return (images.int() & 255).byte()
