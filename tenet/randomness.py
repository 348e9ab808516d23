"""Randomness as a function of (seed, purpose, step, rank), never of history: resuming is exact."""

import hashlib

import torch


def derive_seed(seed: int, purpose: str, *, step: int = 0, rank: int = 0) -> int:
    """A 63-bit seed; any change of an argument gives an unrelated one."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}/{rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def make_generator(
    device: torch.device | str, *, seed: int, purpose: str, step: int = 0, rank: int = 0
) -> torch.Generator:
    """A generator on `device` for one draw of one purpose at one step."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, purpose, step=step, rank=rank))
