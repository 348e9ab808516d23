"""Where an evaluation takes its corrupted images from: the generator or the official archives, by cell."""

from collections.abc import Sequence
from os import PathLike
from typing import NamedTuple

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from tenet.corruptions.archive import OfficialArchive
from tenet.corruptions.generator import corrupt
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS


class CorruptedImages(NamedTuple):
    images: UInt8[Tensor, "image h w 3"]
    labels: Int64[Tensor, " image"]


class GeneratedCorruptions:
    """Corrupts `images` on their device as each cell is asked for."""

    kind = "generated"

    def __init__(
        self, images: UInt8[Tensor, "image h w 3"], labels: Int64[Tensor, " image"], *, seed: int = 0
    ) -> None:
        self.images, self.labels, self.seed = images, labels, seed

    @property
    def names(self) -> Sequence[str]:
        return (*CORRUPTIONS, *EXTRA_CORRUPTIONS)

    def cell(self, corruption: str, severity: int) -> CorruptedImages:
        corrupted = corrupt(self.images, corruption=corruption, severity=severity, seed=self.seed)
        return CorruptedImages(corrupted, self.labels)


class ArchivedCorruptions:
    """Reads the cells of a folder in the official layout; raises what `OfficialArchive` raises."""

    kind = "files"

    def __init__(self, root: str | PathLike[str]) -> None:
        self.archive = OfficialArchive(root)

    @property
    def names(self) -> Sequence[str]:
        return self.archive.names

    def cell(self, corruption: str, severity: int) -> CorruptedImages:
        images, labels = self.archive.cell(corruption, severity)
        # A copy: tensors can't be views of the read-only file.
        return CorruptedImages(torch.from_numpy(images.copy()), torch.from_numpy(labels))
