"""Safe reading of untrusted tensor files: no code in them runs, and memory stays in proportion to the file's size."""

import math
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tenet.errors import CheckpointError

# Tied weights share memory, so the content may be larger than the file, but only by this factor.
MAX_GROWTH = 10
MAX_DEPTH = 50
REMEDY = "where they can be loaded, save the weights alone: torch.save(model.state_dict(), 'weights.pth')"


class Inert:
    """Stands for an object of another program that is not loaded: it keeps nothing and does nothing."""

    def __new__(cls, *values: Any) -> "Inert":
        return super().__new__(cls)

    def __init__(self, *values: Any) -> None: ...
    def __setstate__(self, state: Any) -> None: ...


# What common training scripts save next to the weights, by its name in the file. None of it is imported.
_NUMPY = ("_reconstruct", "scalar")
_ATTRIBUTE_DICTS = (
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)
BOOKKEEPING: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    *((Inert, f"numpy.{core}.multiarray.{name}") for core in ("core", "_core") for name in _NUMPY),
    *((Inert, name) for name in ("numpy.dtype", "numpy.ndarray", "argparse.Namespace")),
    *((Inert, f"pathlib.{name}") for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath")),
    *((Inert, f"pathlib._local.{name}") for name in ("Path", "PosixPath", "WindowsPath")),
    *((Inert, f"datetime.{name}") for name in ("datetime", "date", "timedelta")),
    *((OrderedDict, name) for name in _ATTRIBUTE_DICTS),
]


def read_tensors(path: Path, *, bookkeeping: bool = False) -> Any:
    """Read a file that torch.save wrote, if it holds only tensors and plain values.

    Nothing else is loaded or executed. bookkeeping: what `BOOKKEEPING` lists is read as `Inert`, not refused.
    The tensors are memory-mapped views of the file: copy those that must outlive it. Raises CheckpointError, which
    names the file and the reason.
    """
    require_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about its older file formats
            # With mmap a tensor can't extend beyond the file, even if the pickle declares a larger size.
            is_zip = _check_zip(path)
            with torch.serialization.safe_globals(BOOKKEEPING) if bookkeeping else nullcontext():
                content = torch.load(str(path), map_location="cpu", weights_only=True, mmap=is_zip)
        _check_plain(content, limit=MAX_GROWTH * path.stat().st_size)
    except Exception as error:  # the reader fails on damaged files with IndexError, struct.error and others
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError) and "weights_only" in str(error):
            # torch's own message advises loading the file with weights_only=False.
            found = re.search(r"GLOBAL ([\w.]+)", str(error))
            what = (
                f"it holds other objects ({found[1]})" if found else "it is damaged, or holds other objects"
            )
            reason = f"{what}, which are never loaded; {REMEDY}"
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
