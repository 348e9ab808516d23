"""Random numbers depend only on (seed, purpose, step, rank), never on earlier draws, so resuming is exact."""

import hashlib

import torch


def derive_seed(seed: int, purpose: str, *, step: int = 0, rank: int = 0) -> int:
    """Return a 63-bit seed. Changing any argument results in an unrelated seed."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}/{rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def make_generator(
    device: torch.device | str, *, seed: int, purpose: str, step: int = 0, rank: int = 0
) -> torch.Generator:
    """Return a generator on `device` for one purpose at one step."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, purpose, step=step, rank=rank))
