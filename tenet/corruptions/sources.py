"""Where an evaluation takes its corrupted images from, by cell: the generator or the official archives."""

from collections.abc import Iterator, Sequence
from os import PathLike

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from tenet.corruptions.archive import OfficialArchive
from tenet.corruptions.folders import FolderArchive, ImageBatch
from tenet.corruptions.generator import corrupt
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS
from tenet.errors import DatasetError
from tenet.files.names import MANIFEST_FILE
from tenet.files.paths import user_path


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
    """Reads a folder of official `.npy` files, or a tree of images such as ImageNet-C; raises DatasetError.

    kind: files, but generated for an archive that this package wrote, as its manifest tells.
    """

    def __init__(
        self,
        root: str | PathLike[str],
        *,
        classes: Sequence[str],
        clean: tuple[UInt8[Tensor, "image h w 3"], Int64[Tensor, " image"]] | None = None,
    ) -> None:
        """classes: names in the order of the model's outputs; labels must count through them, and a tree's
        folders carry them. clean: the data set's own test images and labels, which the archive must fit."""
        self.root = user_path(root, key="corruptions.root")
        self.kind = "generated" if (self.root / MANIFEST_FILE).exists() else "files"
        self.archive: OfficialArchive | FolderArchive
        if not list(self.root.glob("*.npy")) and any((self.root / name).is_dir() for name in CORRUPTIONS):
            self.archive = FolderArchive(self.root, classes=classes)
        else:
            self.archive = OfficialArchive(self.root)
            self._check(len(classes), clean)

    def _check(self, classes: int, clean: tuple[Tensor, Tensor] | None) -> None:
        """Refuse an archive that was made from another data set: its figures would look like figures."""
        assert isinstance(self.archive, OfficialArchive)
        images, labels = self.archive.cell(self.names[0], 1)
        question = "is this the archive of another data set?"
        if labels.min() < 0 or labels.max() >= classes:
            raise DatasetError(
                f"{self.root / 'labels.npy'} holds labels from {labels.min()} to {labels.max()}, but the data "
                f"set has {classes} classes; {question}"
            )
        if clean is None:
            return
        if images.shape[1:] != clean[0].shape[1:]:
            raise DatasetError(
                f"{self.root / self.names[0]}.npy holds images of {list(images.shape[1:])}, but the data set's "
                f"are {list(clean[0].shape[1:])}; {question}"
            )
        # As many images as the test set has, in whatever order, must be as many of each class.
        own = np.bincount(clean[1].cpu().numpy(), minlength=classes)
        if len(labels) == len(clean[1]) and (np.bincount(labels, minlength=classes) != own).any():
            raise DatasetError(
                f"{self.root / 'labels.npy'} has other numbers of images by class than the data set's test "
                f"labels; {question}"
            )

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
