"""Safe reading of untrusted NumPy files: plain arrays only, and memory in proportion to the file's size."""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tenet.errors import DatasetError

# An .npz file is refused as a decompression bomb if its arrays exceed both limits: this many bytes, and this many
# times the size of the file.
HARMLESS_BYTES = 2**26
MAX_GROWTH = 100


def open_npy(path: Path, *, remedy: str) -> np.ndarray:
    """Memory-map a plain .npy file, read-only. Raises DatasetError, whose message ends with `remedy`, if it is not one."""
    if not path.is_file():
        raise DatasetError(f"{path} is missing; {remedy}")
    try:
        # Not np.load: open_memmap reads only .npy and never unpickles.
        return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # NumPy fails on malformed headers with SyntaxError, OverflowError and others
        raise DatasetError(f"{path} is not a whole plain .npy file ({error}); {remedy}") from error


def read_arrays(
    path: Path, required: Sequence[str], *, optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Read the named arrays from an .npz file, and the optional ones that it contains.

    Pickled objects are never loaded, and sizes are checked before memory is allocated. Raises DatasetError, which
    names the file and the problem.
    """
    if not path.is_file():
        raise DatasetError(f"{path} is not a file")
    try:
        with zipfile.ZipFile(path) as archive:
            found = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if missing := [name for name in required if name not in found]:
                held = ", ".join(list(found)[:10])
                raise DatasetError(f"{path} lacks {', '.join(missing)}; it holds {held}")
            members = {name: archive.getinfo(found[name]) for name in (*required, *optional) if name in found}
            unpacked, size = sum(member.file_size for member in members.values()), path.stat().st_size
            if unpacked > max(HARMLESS_BYTES, MAX_GROWTH * size):
                raise DatasetError(
                    f"{path} would grow from {size:,} to {unpacked:,} bytes, more than {MAX_GROWTH} times; "
                    "if you trust the file, write it again with np.savez"
                )
            return {name: _read_array(archive, member) for name, member in members.items()}
    except DatasetError:
        raise
    except Exception as error:  # the readers fail on damaged files with BadZipFile, zlib.error and others
        raise DatasetError(f"{path} can't be read as a NumPy .npz file of plain arrays: {error}") from error


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename} uses a compression method that NumPy does not write")
    formats = np.lib.format
    # Version 3 is only needed for field names, which plain arrays do not have.
    readers = {(1, 0): formats.read_array_header_1_0, (2, 0): formats.read_array_header_2_0}
    with archive.open(member) as file:
        shape, _, dtype = readers[formats.read_magic(file)](file)
        if dtype.hasobject:
            raise ValueError("it holds Python objects, which are never loaded")
        # Count zero-byte items, such as empty strings, as one byte: otherwise a header could declare any number of them.
        if file.tell() + math.prod(shape) * max(1, dtype.itemsize) != member.file_size:
            raise ValueError(f"the length of {member.filename} does not match its header")
    with archive.open(member) as file:
        return formats.read_array(file, allow_pickle=False)
