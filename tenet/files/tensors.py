"""Safe reading of untrusted tensor files: no code in them runs, and memory stays in proportion to the file's size."""

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

# Tied weights share memory, so the content may be larger than the file, but only by this factor.
MAX_GROWTH = 10
MAX_DEPTH = 50


def read_tensors(path: Path) -> Any:
    """Read a file that torch.save wrote, if it holds only tensors and plain values.

    Nothing else is loaded or executed. The tensors are memory-mapped views of the file: copy those that must outlive
    it. Raises CheckpointError, which names the file and the reason.
    """
    require_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about its older file formats
            # With mmap a tensor can't extend beyond the file, even if the pickle declares a larger size.
            is_zip = _check_zip(path)
            content = torch.load(str(path), map_location="cpu", weights_only=True, mmap=is_zip)
        _check_plain(content, limit=MAX_GROWTH * path.stat().st_size)
    except Exception as error:  # the reader fails on damaged files with IndexError, struct.error and others
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError) and "weights_only" in str(error):
            # torch's own message advises loading the file with weights_only=False.
            reason = "it holds other objects, which are never loaded"
        raise CheckpointError(f"{path} can't be read as tensors and plain values: {reason}") from error
    return content


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata. Raises CheckpointError, which names the file and the reason."""
    from safetensors import safe_open

    require_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            metadata = file.metadata() or {}
        _check_plain(tensors, limit=MAX_GROWTH * path.stat().st_size)
    except Exception as error:  # a dtype may be unknown to torch or to safetensors
        raise CheckpointError(f"{path} can't be read as safetensors: {error}") from error
    return tensors, metadata


def require_file(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file")


def _check_zip(path: Path) -> bool:
    """Whether the file is a zip by its first bytes, as torch decides; files from before torch 1.6 are none.

    Raises ValueError if the members take more memory than the file: torch.save does not compress.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return False
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
    if sum(part.file_size for part in parts) > path.stat().st_size:
        raise ValueError("its members are compressed or overlap, which torch.save never produces")
    return True


def _check_plain(content: Any, *, limit: int) -> None:
    """Raise ValueError for tensors without plain dense values, and for content that is too large or nested too deeply.

    The size counts shared parts and expanded tensors at full size, and every other value as one byte; `limit` is in
    bytes.
    """
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
            raise ValueError(f"it expands to more than {MAX_GROWTH} times its size")
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
