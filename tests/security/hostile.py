"""Files as an attacker would make them."""

import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


class Payload:
    """An object that creates a file named canary in `folder` when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({str(self.folder / 'canary')!r}, 'w').close()",)


def pickled(folder: Path) -> bytes:
    return pickle.dumps(Payload(folder), protocol=2)


def object_array(folder: Path) -> np.ndarray:
    return np.array([Payload(folder)] * 10, dtype=object)


def save_npy(path: Path, *, shape: tuple[int, ...], dtype: str = "|u1", data: bytes = b"") -> Path:
    """Write an .npy file whose header declares `shape`, followed by any data."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
        file.write(data)
    return path


def pack(path: Path, members: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def repack(path: Path, changes: dict[str, bytes], *, method: int = zipfile.ZIP_STORED) -> Path:
    """Replace members of a zip. changes: end of a member's name -> new content."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for end, content in changes.items():
        members[next(name for name in members if name.endswith(end))] = content
    return pack(path, members, method=method)


def safetensors(
    path: Path, header: bytes | dict[str, Any], data: bytes = b"", *, length: int | None = None
) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path
