"""Random draws that depend only on an image's key, computed in batches on the device.

A counter-based generator: value i of an image is a hash of (key, i), so draws do not depend on the
other images of the batch. The hash is the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA
2014), on signed integers, whose products wrap like unsigned ones.
"""

import math
from zlib import crc32

import torch
from jaxtyping import Float64, Int64
from torch import Tensor


def _signed(value: int) -> int:
    """The 64-bit two's complement value of the low 64 bits."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


# Odd Weyl increments: the golden ratio for positions, sqrt(3) - 1 for streams.
POSITION_STEP = _signed(0x9E3779B97F4A7C15)
STREAM_STEP = _signed(0xBB67AE8584CAA73B)
SHIFTS = 30, 27, 31
MULTIPLIERS = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB), 1


def scramble(values: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """Hash each integer to 64 well-mixed bits."""
    for shift, multiplier in zip(SHIFTS, MULTIPLIERS, strict=True):
        # the mask clears the sign bits that a signed shift copies in
        shifted = (values >> shift).bitwise_and_(2 ** (64 - shift) - 1)
        values = shifted.bitwise_xor_(values).mul_(multiplier)
    return values


def image_keys(
    image_ids: Int64[Tensor, "batch"], *, seed: int, corruption: str, severity: int
) -> Int64[Tensor, "batch"]:
    """One key per image: a hash of (seed, corruption, severity, image id)."""
    keys = torch.full_like(image_ids, _signed(seed))
    for part in (crc32(corruption.encode()), severity):
        keys = scramble(keys + POSITION_STEP) ^ part
    return scramble(scramble(keys + POSITION_STEP) ^ image_ids)


class Draws:
    """A sequence of random draws for each image of a batch.

    Each call uses one stream of each image's key and returns a tensor whose first axis is the batch.
    """

    def __init__(self, keys: Int64[Tensor, "batch"]) -> None:
        self._keys = keys
        self._streams_used = 0

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Float64[Tensor, "batch ..."]:
        """Uniform draws in the open interval (low, high), with 32 random bits each."""
        count = math.prod(shape)
        halves = torch.cat(self._uniform_pairs((count + 1) // 2), dim=1)[:, :count]
        return (halves * (high - low) + low).view(-1, *shape)

    def normal(self, *shape: int) -> Float64[Tensor, "batch ..."]:
        """Standard normal draws, by the Box-Muller transform; below 6.8 in magnitude."""
        count = math.prod(shape)
        radius, angle = self._uniform_pairs((count + 1) // 2)
        radius = radius.log_().mul_(-2).sqrt_()
        angle = angle.mul_(2 * math.pi)
        return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count].view(-1, *shape)

    def integers(self, low: int, high: int, *shape: int) -> Int64[Tensor, "batch ..."]:
        """Uniform integers in [low, high)."""
        return self.uniform(*shape, low=float(low), high=float(high)).floor_().long()

    def _uniform_pairs(self, count: int) -> tuple[Tensor, Tensor]:
        """Two independent uniforms in (0, 1) from each of `count` hashes per image: two [batch, count]."""
        keys = scramble(self._keys + _signed(STREAM_STEP * self._streams_used))
        self._streams_used += 1
        positions = torch.arange(count, device=keys.device)
        bits = scramble(keys[:, None] + positions * POSITION_STEP)
        # float64 represents (k + 1/2) / 2^32 exactly: never 0 or 1, and equal on every device.
        high = (bits >> 32).double().add_(2**31 + 0.5).mul_(2.0**-32)
        low = (bits & 0xFFFFFFFF).double().add_(0.5).mul_(2.0**-32)
        return high, low
