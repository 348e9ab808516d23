"""Where an evaluation takes its corrupted images from, by cell: the generator or the official archives."""

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from tenet.corruptions.archive import OfficialArchive
from tenet.corruptions.folders import FolderArchive, ImageBatch
from tenet.corruptions.generator import corrupt
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS


class GeneratedCorruptions:
    """Corrupts `images` on their device, batch by batch, as they are asked for."""

    kind = "generated"

    def __init__(
        self, images: UInt8[Tensor, "image h w 3"], labels: Int64[Tensor, " image"], *, seed: int = 0
    ) -> None:
        self.images, self.labels, self.seed = images, labels, seed

    @property
    def names(self) -> Sequence[str]:
        return (*CORRUPTIONS, *EXTRA_CORRUPTIONS)

    def batches(self, corruption: str, severity: int, *, batch_size: int) -> Iterator[ImageBatch]:
        ids = torch.arange(len(self.images), device=self.images.device)
        for start in range(0, len(ids), batch_size):
            part = slice(start, start + batch_size)
            # By their ids, so that an image is corrupted the same in any batch.
            corrupted = corrupt(
                self.images[part],
                corruption=corruption,
                severity=severity,
                seed=self.seed,
                image_ids=ids[part],
            )
            yield ImageBatch(corrupted, self.labels[part])

    def identity(self) -> dict[str, object]:
        return {"kind": self.kind, "seed": self.seed}


class ArchivedCorruptions:
    """Reads a folder of official `.npy` files, or a tree of images such as ImageNet-C; raises DatasetError."""

    kind = "files"

    def __init__(self, root: str | PathLike[str], *, classes: Sequence[str]) -> None:
        """classes: names in the order of the model's outputs; a tree's folders must carry them."""
        self.root = Path(root).expanduser()
        self.archive: OfficialArchive | FolderArchive
        if not list(self.root.glob("*.npy")) and any((self.root / name).is_dir() for name in CORRUPTIONS):
            self.archive = FolderArchive(self.root, classes=classes)
        else:
            self.archive = OfficialArchive(self.root)

    @property
    def names(self) -> Sequence[str]:
        return self.archive.names

    def batches(self, corruption: str, severity: int, *, batch_size: int) -> Iterator[ImageBatch]:
        if isinstance(self.archive, FolderArchive):
            yield from self.archive.batches(corruption, severity, batch_size=batch_size)
            return
        images, labels = self.archive.cell(corruption, severity)
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            # A copy of the batch: tensors can't be views of the read-only file.
            yield ImageBatch(torch.from_numpy(images[part].copy()), torch.from_numpy(labels[part]))

    def identity(self) -> dict[str, object]:
        """Names, sizes and times of the files (of a tree: of its folders), which change when the data does."""
        pattern = "*.npy" if isinstance(self.archive, OfficialArchive) else "*/*/*"
        files = sorted(self.root.glob(pattern))
        return {
            "kind": self.kind,
            "root": str(self.root.resolve()),
            "files": {
                str(path.relative_to(self.root)): [path.stat().st_size, path.stat().st_mtime_ns]
                for path in files
            },
        }
