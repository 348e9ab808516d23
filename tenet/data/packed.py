"""All images of a data set in one file: network drives read one large file many times faster than many small ones.

Layout: MAGIC, the encoded images one after the other, the tables, and a trailer: where the tables begin, their length and
their SHA-256. The tables hold the place, size and CRC-32 of every image, so that damage is found when an image is read.
"""

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from tenet.data.arrays import check_class_names
from tenet.data.decode import MAX_FILE_BYTES
from tenet.data.index import ImageIndex
from tenet.errors import DatasetError
from tenet.files.atomic import write_atomically
from tenet.files.plain import check_plain

MAGIC = b"tenet pack 1\r\n\x1a\n"
TRAILER = struct.Struct(f"<QQ32s{len(MAGIC)}s")
# Of the tables, which take about 60 bytes an image and are read at once.
MAX_TABLES_BYTES = 2**33
DTYPES = ("<i8", "<u4", "|u1", "|i1")


class PackedIndex(ImageIndex):
    """Images within a packed file.

    starts: where each image begins in the file; one more for the end of the last. crcs: CRC-32 of each image.
    """

    def __init__(
        self, file: Path, tables: Mapping[str, np.ndarray], *, classes: tuple[str, ...], digest: str
    ) -> None:
        labels = torch.from_numpy(tables["labels"].copy())
        super().__init__(file, tables["names"], tables["ends"], labels, classes)
        self.starts, self.crcs, self.digest = tables["starts"], tables["crcs"], digest
        # This process and those that it forks share it: `pread` does not move its position.
        self._descriptor = os.open(file, os.O_RDONLY)

    @property
    def nbytes(self) -> int:
        return super().nbytes + self.starts.nbytes + self.crcs.nbytes

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def read(self, image: int) -> bytes:
        start, end = int(self.starts[image]), int(self.starts[image + 1])
        try:
            # A memory map would end the process if the file became shorter or the drive disappeared.
            content = os.pread(self._descriptor, end - start, start)
        except OSError as error:
            raise DatasetError(f"{self.where(image)} can't be read: {error.strerror}") from error
        if zlib.crc32(content) != self.crcs[image]:
            raise DatasetError(f"{self.where(image)} is damaged; pack the images again")
        return content

    def where(self, image: int) -> str:
        return f"{self.root}: {self.name(image)}"

    def fingerprint(self) -> str:
        """Over the content: the tables hold a checksum of every image."""
        return self.digest

    content_fingerprint = fingerprint


def write_pack(
    path: Path,
    parts: Mapping[str, ImageIndex],
    *,
    on_image: Callable[[int, str], None] = lambda done, part: None,
) -> None:
    """Write the images of all parts, such as train and test, into the file. A file is complete or absent.

    on_image: called after each image with the number of images written so far and the name of the part.
    Raises DatasetError for an image that can't be read, and StorageError.
    """

    def write(temporary: Path) -> None:
        tables: dict[str, np.ndarray] = {}
        with temporary.open("wb") as file:
            file.write(MAGIC)
            done = 0
            for part, index in parts.items():
                starts, crcs = np.zeros(len(index) + 1, dtype="<i8"), np.zeros(len(index), dtype="<u4")
                for image in range(len(index)):
                    content = index.read(image)
                    starts[image], crcs[image] = file.tell(), zlib.crc32(content)
                    file.write(content)
                    done += 1
                    on_image(done, part)
                starts[-1] = file.tell()
                own = {
                    "starts": starts,
                    "crcs": crcs,
                    "names": index.names,
                    "ends": index.ends,
                    "labels": index.labels.numpy(),
                }
                tables |= {f"{part}/{name}": table for name, table in own.items()}
            _write_tables(file, tables, classes=next(iter(parts.values())).classes)

    write_atomically(path, write)


def _write_tables(file: IO[bytes], tables: Mapping[str, np.ndarray], *, classes: tuple[str, ...]) -> None:
    start = file.tell()
    layout = {name: [table.dtype.str, list(table.shape)] for name, table in tables.items()}
    head = json.dumps({"classes": classes, "tables": layout}).encode()
    content = b"".join([struct.pack("<Q", len(head)), head, *(table.tobytes() for table in tables.values())])
    file.write(content)
    file.write(TRAILER.pack(start, len(content), hashlib.sha256(content).digest(), MAGIC))


def open_pack(path: Path) -> dict[str, ImageIndex]:
    """The parts of a packed file, by name. Raises DatasetError for another kind of file and for a damaged one."""
    try:
        check_plain(path)
        with path.open("rb") as file:
            size = path.stat().st_size
            if size < len(MAGIC) + TRAILER.size or file.read(len(MAGIC)) != MAGIC:
                raise ValueError("it is no packed file")
            file.seek(size - TRAILER.size)
            start, length, digest, magic = TRAILER.unpack(file.read())
            if magic != MAGIC or start + length + TRAILER.size != size or length > MAX_TABLES_BYTES:
                raise ValueError("its end is missing or damaged")
            file.seek(start)
            content = file.read(length)
        if hashlib.sha256(content).digest() != digest:
            raise ValueError("its tables do not match their checksum")
        classes, tables = _read_tables(content)
        parts = {name.partition("/")[0]: None for name in tables}
        return {part: _open_part(path, part, tables, classes, digest.hex(), end=start) for part in parts}
    except DatasetError:
        raise
    except Exception as error:  # a file made by others may break any of its rules
        raise DatasetError(
            f"{path} can't be read as packed images: {error}; pack them again: python -m tenet.data.pack DIR FILE"
        ) from error


def _read_tables(content: bytes) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    (length,) = struct.unpack_from("<Q", content)
    head = json.loads(content[8 : 8 + length])
    place, tables = 8 + length, {}
    for name, (dtype, shape) in head["tables"].items():
        if dtype not in DTYPES or len(shape) not in (1, 2):
            raise ValueError(f"a table of type {dtype!s:.20} and shape {shape!s:.40}")
        count = int(np.prod(shape))
        tables[name] = np.frombuffer(content, dtype=dtype, count=count, offset=place).reshape(shape)
        place += tables[name].nbytes
    if place != len(content):
        raise ValueError("its tables have other lengths than it says")
    return tuple(map(str, head["classes"])), tables


def _open_part(
    path: Path,
    part: str,
    tables: Mapping[str, np.ndarray],
    classes: tuple[str, ...],
    digest: str,
    *,
    end: int,
) -> PackedIndex:
    """Check that the tables fit the file and each other. Raises ValueError or DatasetError."""
    own: dict[str, Any] = {
        name: tables[f"{part}/{name}"] for name in ("starts", "crcs", "names", "ends", "labels")
    }
    check_class_names(classes, source=str(path))
    images, labels = len(own["labels"]), own["labels"]
    if images == 0 or [len(own[name]) for name in ("starts", "crcs", "ends")] != [
        images + 1,
        images,
        images + 1,
    ]:
        raise ValueError(f"its part {part:.20} has tables of different lengths")
    sizes = np.diff(own["starts"])
    if (
        own["starts"][0] < len(MAGIC)
        or own["starts"][-1] > end
        or sizes.min() < 0
        or sizes.max() > MAX_FILE_BYTES
    ):
        raise ValueError(f"images of its part {part:.20} lie outside the file")
    if own["ends"][0] != 0 or own["ends"][-1] != len(own["names"]) or np.diff(own["ends"]).min() < 0:
        raise ValueError(f"paths of its part {part:.20} lie outside their table")
    if labels.ndim == 1 and not 0 <= labels.min() <= labels.max() < len(classes):
        raise ValueError(f"labels of its part {part:.20} are from {labels.min()} to {labels.max()}")
    if labels.ndim == 2 and labels.shape[1] != len(classes):
        raise ValueError(
            f"labels of its part {part:.20} are for {labels.shape[1]} classes, not {len(classes)}"
        )
    return PackedIndex(path, own, classes=classes, digest=f"{digest[:32]} {part}")
