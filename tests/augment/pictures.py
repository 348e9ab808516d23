"""Images to augment: random noise, smooth ones like photographs, constant ones, and ones of two values."""

import torch
from torch import Tensor

KINDS = ("noise", "smooth", "constant", "two_values")


def pictures(kind: str, *, batch: int = 24, size: tuple[int, int] = (32, 32), channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    shape = (batch, channels, *size)
    if kind == "noise":
        return torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    if kind == "smooth":
        # Few coarse blobs, blown up: no value twice in the same place, and a range short of 0 and 255.
        coarse = torch.rand((batch, channels, 4, 4), generator=generator) * 200 + 25
        return torch.nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0, 255).byte()
    pair = torch.randint(256, (2, batch, channels, 1, 1), generator=generator, dtype=torch.uint8)
    if kind == "constant":
        return pair[0].expand(shape).clone()
    return torch.where(torch.rand(shape, generator=generator) < 0.6, pair[0], pair[1])
