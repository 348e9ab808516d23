"""Random draws that depend only on an image's key, computed in batches on the device.

A counter-based generator: value i of an image is a hash of (key, i), so draws do not depend on the
other images of the batch. The hash is the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA
2014), on signed integers, whose products wrap like unsigned ones.
"""

import math
from functools import lru_cache
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor


def _signed(value: int) -> int:
    """The 64-bit two's complement value of the low 64 bits."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


# Odd Weyl increments: the golden ratio for positions, sqrt(3) - 1 for streams.
POSITION_STEP = _signed(0x9E3779B97F4A7C15)
STREAM_STEP = _signed(0xBB67AE8584CAA73B)
# Of the hash: a shift to the right and a product; the last round has no product.
ROUNDS = ((30, _signed(0xBF58476D1CE4E5B9)), (27, _signed(0x94D049BB133111EB)), (31, None))
# The float64 with these exponent bits and k as the low 32 bits of its fraction is 2^20 + k / 2^32.
EXPONENT = 0x413 << 52
SURPLUS = 2.0**20 - 2.0**-33  # what such a number exceeds (k + 1/2) / 2^32 by
HALF, LOW_MASK, LOW_BITS, HIGH_BITS = map(np.uint64, (32, 2**32 - 1, EXPONENT, EXPONENT | 2**31))


def scramble(values: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """Hash each integer to 64 well-mixed bits, in place."""
    if values.device.type == "cpu":
        _scramble_unsigned(values.numpy().view(np.uint64))
        return values
    shifted = torch.empty_like(values)
    for shift, multiplier in ROUNDS:
        torch.bitwise_right_shift(values, shift, out=shifted)
        # the mask clears the sign bits that a signed shift copies in
        values.bitwise_xor_(shifted.bitwise_and_(2 ** (64 - shift) - 1))
        if multiplier is not None:
            values.mul_(multiplier)
    return values


UNSIGNED_ROUNDS = [(np.uint64(shift), factor and np.uint64(factor % 2**64)) for shift, factor in ROUNDS]


def _scramble_unsigned(values: np.ndarray) -> None:
    """`scramble` with NumPy, which has unsigned shifts and faster products of 64 bits than torch on a CPU."""
    shifted = np.empty_like(values)
    for shift, multiplier in UNSIGNED_ROUNDS:
        np.right_shift(values, shift, out=shifted)
        np.bitwise_xor(values, shifted, out=values)
        if multiplier is not None:
            np.multiply(values, multiplier, out=values)


def image_keys(
    image_ids: Int64[Tensor, "batch"], *, seed: int, corruption: str, severity: int
) -> Int64[Tensor, "batch"]:
    """One key per image: a hash of (seed, corruption, severity, image id)."""
    return scramble(image_ids ^ _cell_key(seed, corruption, severity))


@lru_cache(maxsize=64)
def _cell_key(seed: int, corruption: str, severity: int) -> int:
    key = torch.tensor(_signed(seed))
    for part in (crc32(corruption.encode()), severity):
        key = scramble(key + POSITION_STEP) ^ part
    return int(scramble(key + POSITION_STEP))


@lru_cache(maxsize=4)
def _positions(count: int, device: torch.device) -> Int64[Tensor, " {count}"]:
    return torch.arange(count, device=device) * POSITION_STEP


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
        uniform = self._uniform_halves((count + 1) // 2).flatten(1)[:, :count]
        if low:
            torch.add(uniform.new_tensor(low), uniform, alpha=high - low, out=uniform)
        elif high != 1:
            uniform.mul_(high)
        return uniform.reshape(-1, *shape)

    def normal(self, *shape: int) -> Float64[Tensor, "batch ..."]:
        """Standard normal draws, by the Box-Muller transform; below 6.8 in magnitude."""
        count = math.prod(shape)
        uniform = self._uniform_halves((count + 1) // 2)
        radius, angle = uniform.unbind(1)
        radius.log_().mul_(-2).sqrt_()
        cosine = angle.mul_(2 * math.pi).cos()
        angle.sin_().mul_(radius)
        radius.mul_(cosine)
        return uniform.flatten(1)[:, :count].reshape(-1, *shape)

    def integers(self, low: int, high: int, *shape: int) -> Int64[Tensor, "batch ..."]:
        """Uniform integers in [low, high)."""
        return self.uniform(*shape, low=float(low), high=float(high)).floor_().long()

    def outside(
        self, share: float, *shape: int
    ) -> tuple[Bool[Tensor, "batch ..."], Bool[Tensor, "batch ..."]]:
        """Whether uniform draws are below `share` / 2, and whether they are above 1 - `share` / 2."""
        count = math.prod(shape)
        # Each integer is k - 2^31 for a draw of (k + 1/2) / 2^32.
        pairs = self._hashes((count + 1) // 2).bitwise_xor_(2**31).view(torch.int32)
        low = math.ceil(share / 2 * 2**32 - 0.5) - 2**31
        high = math.floor((1 - share / 2) * 2**32 - 0.5) - 2**31
        marked = torch.empty(2, len(pairs), 2, pairs.shape[1] // 2, dtype=torch.bool, device=pairs.device)
        for side, hits in enumerate((pairs < low, pairs > high)):
            # as in _uniform_halves, the high half of each hash comes first
            marked[side, :, 0], marked[side, :, 1] = hits[:, 1::2], hits[:, ::2]
        below, above = marked.flatten(2)[:, :, :count].reshape(2, -1, *shape)
        return below, above

    def _uniform_halves(self, count: int) -> Float64[Tensor, "batch 2 {count}"]:
        """Two independent uniforms in (0, 1) from each of `count` hashes per image."""
        bits = self._hashes(count)
        # float64 represents (k + 1/2) / 2^32 exactly: never 0 or 1, and equal on every device.
        if bits.device.type == "cpu":
            halves = _exponents_with_halves(bits.numpy().view(np.uint64))
            return torch.from_numpy(np.subtract(halves, SURPLUS, out=halves))
        whole = bits.new_empty(len(bits), 2, count)
        # the shift copies the sign, and the sum turns it into the same bits as on a CPU
        torch.bitwise_right_shift(bits, 32, out=whole[:, 0]).add_(EXPONENT | 2**31)
        torch.bitwise_and(bits, 2**32 - 1, out=whole[:, 1]).bitwise_or_(EXPONENT)
        return whole.view(torch.float64).sub_(SURPLUS)

    def _hashes(self, count: int) -> Int64[Tensor, "batch {count}"]:
        keys = scramble(self._keys + _signed(STREAM_STEP * self._streams_used))
        self._streams_used += 1
        positions = _positions(count, keys.device)
        if keys.device.type == "cpu":  # sums of integers, too, are faster in NumPy
            return scramble(torch.from_numpy(keys.numpy()[:, None] + positions.numpy()))
        return scramble(keys[:, None] + positions)


def _exponents_with_halves(bits: np.ndarray) -> np.ndarray:
    """2^20 + k / 2^32 for both halves k of each integer [batch, count]: float64 [batch, 2, count].

    The highest bit is inverted.
    """
    whole = np.empty((len(bits), 2, bits.shape[1]), np.uint64)
    np.bitwise_xor(np.right_shift(bits, HALF, out=whole[:, 0]), HIGH_BITS, out=whole[:, 0])
    np.bitwise_or(np.bitwise_and(bits, LOW_MASK, out=whole[:, 1]), LOW_BITS, out=whole[:, 1])
    return whole.view(np.float64)
