"""NumPy's files that may come from anyone: plain arrays alone, and no more memory than a file is worth."""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tenet.errors import DatasetError

# An .npz file whose arrays take more than this, and many times its own size, is a bomb.
HARMLESS_BYTES = 2**26
MAX_GROWTH = 100


def open_npy(path: Path, *, remedy: str) -> np.ndarray:
    """Memory-map a plain .npy file, read-only. Raises DatasetError, ending in `remedy`, if it is not one."""
    if not path.is_file():
        raise DatasetError(f"{path} is missing; {remedy}")
    try:
        # Not np.load: this reads the one format, and can't unpickle.
        return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # odd headers trip NumPy in many ways: SyntaxError, OverflowError, ...
        raise DatasetError(f"{path} is not a whole plain .npy file ({error}); {remedy}") from error


def read_arrays(
    path: Path, required: Sequence[str], *, optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """The arrays of these names in an .npz file, the optional ones if they are there.

    Raises DatasetError naming the file and what is wrong: pickled objects are never loaded, and sizes are
    checked before memory is taken.
    """
    if not path.is_file():
        raise DatasetError(f"{path} is not a file")
    try:
        with zipfile.ZipFile(path) as archive:
            there = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if missing := [name for name in required if name not in there]:
                held = ", ".join(list(there)[:10])
                raise DatasetError(f"{path} lacks {', '.join(missing)}; it holds {held}")
            members = {name: archive.getinfo(there[name]) for name in (*required, *optional) if name in there}
            _check_sizes(path, list(members.values()))
            return {name: _read_array(archive, member) for name, member in members.items()}
    except DatasetError:
        raise
    except Exception as error:  # broken bytes trip the readers in many ways: BadZipFile, zlib.error, ...
        raise DatasetError(f"{path} can't be read as a NumPy .npz file of plain arrays: {error}") from error


def _check_sizes(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    """Raises DatasetError where the members, unpacked, are many times larger than the file."""
    unpacked, size = sum(member.file_size for member in members), path.stat().st_size
    if unpacked > max(HARMLESS_BYTES, MAX_GROWTH * size):
        raise DatasetError(
            f"{path} would grow from {size:,} to {unpacked:,} bytes, more than {MAX_GROWTH} times; "
            "write it with np.savez if it is what it should be"
        )


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename} is compressed in a way that NumPy does not write")
    with archive.open(member) as file:
        if _declared_bytes(file) != member.file_size:
            raise ValueError(f"{member.filename} is not as long as its header says")
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _declared_bytes(file: Any) -> int:
    """The length of an .npy file by its header, whatever follows."""
    version = np.lib.format.read_magic(file)
    # Version 3 is for names of fields, which plain arrays have not.
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, _, dtype = read_header[version](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded")
    # An item of no bytes, such as an empty text, could be there any number of times.
    return file.tell() + math.prod(shape) * max(1, dtype.itemsize)
