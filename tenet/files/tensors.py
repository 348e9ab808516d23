"""Files of tensors that may come from anyone: no code in them runs, and they take no more memory than they are worth."""

import math
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tenet.errors import CheckpointError

# A file may use a part of itself several times (tied weights), but not any number of times.
MAX_GROWTH = 10
MAX_DEPTH = 50


def read_tensors(path: Path) -> Any:
    """What torch.save wrote, if it is tensors and plain values; anything else is refused, unexecuted.

    The tensors are private views of the file: copy what is to outlive it.
    """
    require_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own format's history
            # Mapped, a tensor ends where the file does, whatever size the pickle claims for it.
            is_zip = _is_zip(path)
            if is_zip:
                _check_zip(path)
            content = torch.load(str(path), map_location="cpu", weights_only=True, mmap=is_zip)
        _check_plain(content, limit=MAX_GROWTH * path.stat().st_size)
    except Exception as error:  # broken bytes trip the reader in many ways: IndexError, struct.error, ...
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError) and "weights_only" in str(error):
            # torch's own words advise to load it all the same.
            reason = "it holds other objects, which are never loaded"
        raise CheckpointError(f"{path} can't be read as tensors and plain values: {reason}") from error
    return content


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata."""
    from safetensors import safe_open

    require_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            metadata = file.metadata() or {}
        _check_plain(tensors, limit=MAX_GROWTH * path.stat().st_size)
    except Exception as error:  # types that only one of the two libraries knows
        raise CheckpointError(f"{path} can't be read as safetensors: {error}") from error
    return tensors, metadata


def require_file(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file")


def _is_zip(path: Path) -> bool:
    """By its first bytes, as torch tells; files of before torch 1.6 are none."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _check_zip(path: Path) -> None:
    """Raises ValueError where unpacking would take more memory than the file: torch.save packs nothing."""
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    if sum(part.file_size for part in parts) > path.stat().st_size:
        raise ValueError("its parts are packed, or lie in each other, which torch.save never does")


def _check_plain(content: Any, *, limit: int) -> None:
    """Raises ValueError for tensors that have no plain values, and for content that unfolds to more than `limit`
    bytes or is nested deeply, as shared and expanded parts may be. (Each value counts as a byte.)"""
    size, found = 0, [(content, 0)]
    while found:
        value, depth = found.pop()
        size += 1
        if isinstance(value, Tensor):
            size += _bytes_of(value)
        elif isinstance(value, Mapping):
            found += ((part, depth + 1) for pair in value.items() for part in pair)
        elif isinstance(value, list | tuple | set):
            found += ((part, depth + 1) for part in value)
        elif isinstance(value, int) and abs(value) >= 2**64:
            raise ValueError("it holds a number of more than 64 bits")
        if size > limit:
            raise ValueError(f"it unfolds to more than {MAX_GROWTH} times its size")
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")


def _bytes_of(tensor: Tensor) -> int:
    is_plain = (
        tensor.device.type == "cpu"
        and tensor.layout == torch.strided
        and not (tensor.is_quantized or tensor.is_nested or tensor.is_complex() or vars(tensor))
    )
    if not is_plain:
        raise ValueError("it holds a tensor that is sparse, quantized, nested, complex, or has no values")
    return math.prod(tensor.shape) * tensor.element_size()
