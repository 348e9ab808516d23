"""The list of a data set's image files: a few flat arrays, which worker processes share without copying them."""

import hashlib
import os
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Int64, UInt8
from torch import Tensor

from tenet.data.decode import read_file
from tenet.errors import DatasetError
from tenet.files.weights import checksum

READ_FILES = 256  # for the fingerprint


class ImageIndex:
    """Image files below `root`, by id, with their labels.

    The paths, relative to `root`, follow each other in `names`; path i is `names[ends[i] : ends[i + 1]]`. So an image
    takes 16 bytes and its path, there is no Python object for a single image, and forked processes share everything.
    """

    def __init__(
        self,
        root: Path,
        names: UInt8[np.ndarray, " byte"],
        ends: Int64[np.ndarray, " image_and_one"],
        labels: Int[Tensor, "image *class"],
        classes: Sequence[str],
    ) -> None:
        self.root, self.names, self.ends, self.labels = root, names, ends, labels
        self.classes = tuple(classes)

    @classmethod
    def build(
        cls, root: Path, entries: Iterable[tuple[str, int | Sequence[int]]], *, classes: Sequence[str]
    ) -> "ImageIndex":
        """entries: the path below `root` and the label of each image: a class, or a value in {-1, 0, 1} for each class."""
        names, ends = bytearray(), array("q", [0])
        labels: list[Any] = []
        for name, label in entries:
            names += os.fsencode(name)
            ends.append(len(names))
            labels.append(label)
        is_multi_label = bool(labels) and not isinstance(labels[0], int)
        dtype = torch.int8 if is_multi_label else torch.int64
        packed, positions = np.frombuffer(names, dtype=np.uint8), np.frombuffer(ends, dtype=np.int64)
        return cls(root, packed, positions, torch.tensor(labels, dtype=dtype), classes)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def nbytes(self) -> int:
        return self.names.nbytes + self.ends.nbytes + self.labels.nbytes

    def name(self, image: int) -> str:
        """The path of an image, relative to the root."""
        return os.fsdecode(self.names[self.ends[image] : self.ends[image + 1]].tobytes())

    def path(self, image: int) -> Path:
        return self.root / self.name(image)

    def where(self, image: int) -> str:
        """The image, for messages."""
        return str(self.path(image))

    def read(self, image: int) -> bytes:
        """The content of an image's file. Raises DatasetError, which names the file."""
        return read_file(self.path(image))

    def fingerprint(self) -> str:
        """Over the root, and the names, sizes and times of the files, which change when their content does."""
        return checksum([str(self.root.resolve()), self._described(), self._stamps()])

    def content_fingerprint(self) -> str:
        """Over the names and sizes of all files, and the content of READ_FILES of them, evenly spaced: equal for a copy.

        A change in other files that keeps their sizes is not noticed.
        """
        chosen = range(0, len(self), -(-len(self) // READ_FILES))
        content = hashlib.sha256(b"".join(hashlib.sha256(self.read(image)).digest() for image in chosen))
        return checksum([self._described(), self._stamps()[:, 0], content.hexdigest()])

    def _described(self) -> list[Any]:
        return [self.classes, self.labels, torch.from_numpy(self.names), torch.from_numpy(self.ends)]

    def _stamps(self) -> Int64[Tensor, "image 2"]:
        """Size and time of every file."""
        root, stamps = os.fspath(self.root), array("q")
        for image in range(len(self)):
            try:
                found = os.stat(f"{root}/{self.name(image)}")  # noqa: PTH116 (a Path takes five times as long)
            except OSError as error:
                raise DatasetError(
                    f"{self.path(image)} can't be read as an image: {error.strerror}"
                ) from error
            stamps.extend((found.st_size, found.st_mtime_ns))
        return torch.from_numpy(np.frombuffer(stamps, dtype=np.int64).reshape(-1, 2))
