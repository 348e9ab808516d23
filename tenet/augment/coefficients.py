"""PixMix's two ways of mixing an image with another one, and their random coefficients."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Images = Float[Tensor, "batch 3 h w"]
Coefficients = Float[Tensor, " batch"]
# Below 0, a power of a black pixel would be infinite.
DARKEST = 1e-37


def draw_coefficients(
    batch: int, *, beta: float, generator: torch.Generator
) -> tuple[Coefficients, Coefficients]:
    """The factors or exponents of the image and of the other one, for each image.

    Half of them share 1 as Beta(beta, 1) and Beta(1, beta); the others exceed 1 and fall below 0 by Beta(1, beta).
    """
    device = generator.device

    def draw_power(exponent: float) -> Tensor:
        # Beta(b, 1) is the b-th root of a uniform number.
        return torch.rand(batch, generator=generator, device=device) ** (1 / exponent)

    high, low = draw_power(beta), 1 - draw_power(beta)
    beyond, below = 1 + (1 - draw_power(beta)), -(1 - draw_power(beta))
    shares = torch.rand(batch, generator=generator, device=device) < 0.5
    return torch.where(shares, high, beyond), torch.where(shares, low, below)


def add(images: Images, others: Images, a: Coefficients, b: Coefficients) -> Images:
    """A weighted sum around mid-grey; may leave [0, 1]."""
    a, b = a[:, None, None, None], b[:, None, None, None]
    return (a * (2 * images - 1) + b * (2 * others - 1) + 1) / 2


def multiply(images: Images, others: Images, a: Coefficients, b: Coefficients) -> Images:
    """A weighted product; may leave [0, 1] by far."""
    a, b = a[:, None, None, None], b[:, None, None, None]
    return (2 * images) ** a * (2 * others).clamp(min=DARKEST) ** b / 2


def mix_pixels(
    images: Images, others: Images, *, uniform: Float[Tensor, "batch _ h w"], threshold: Coefficients
) -> Images:
    """The image's own value where `uniform` is below the threshold, otherwise the other one's."""
    own: Bool[Tensor, "batch _ h w"] = uniform < threshold[:, None, None, None]
    return torch.where(own, images, others)
