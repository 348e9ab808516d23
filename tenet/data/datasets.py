"""The data sets that `dataset=` names. Constructing one reads nothing; `load` does."""

import gzip
import hashlib
import http.client
import importlib.util
import socket
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tenet.data.arrays import ImageArrays, Normalization, Splits, make_arrays, read_npz
from tenet.data.split import stratified_split
from tenet.errors import DatasetError
from tenet.files.paths import user_path


class EvaluationSet(NamedTuple):
    """The test images in batches (uint8 images, labels), and as arrays where they fit into memory."""

    classes: tuple[str, ...]
    arrays: ImageArrays | None
    batches: Callable[[int], Iterable[tuple[Tensor, Tensor]]]
    origin: Mapping[str, object] = {}

    def identity(self) -> dict[str, object]:
        """What changes when the images or labels do; a folder's files are taken to stay what they are."""
        if self.arrays is None:
            return {"classes": list(self.classes), **self.origin}
        digest = hashlib.sha256(self.arrays.images.cpu().numpy().tobytes())
        digest.update(self.arrays.labels.cpu().numpy().tobytes())
        return {"classes": list(self.classes), "sha256": digest.hexdigest()}


@dataclass(frozen=True, kw_only=True)
class Dataset(ABC):
    """Settings common to all data sets.

    validation_fraction: share of the training set held out for validation, [0, 1), stratified.
    fraction: share of the remaining training set to use, (0, 1], stratified: the low-data regime.
    split_seed: draws both; the same for all training seeds unless set.
    mean, std: by channel, of images in [0, 1], for normalisation.
    """

    fraction: float = 1.0
    validation_fraction: float = 0.0
    split_seed: int = 0
    mean: Sequence[float] = (0.5, 0.5, 0.5)
    std: Sequence[float] = (0.5, 0.5, 0.5)

    @property
    def normalization(self) -> Normalization:
        return Normalization(tuple(self.mean), tuple(self.std))

    @abstractmethod
    def read(self) -> tuple[ImageArrays, ImageArrays, tuple[str, ...]]:
        """Whole training set, test set, class names."""

    def test_set(self) -> "EvaluationSet":
        """What evaluation needs alone."""
        splits = self.load()
        return EvaluationSet(splits.classes, splits.test, lambda batch_size: splits.test.batches(batch_size))

    def load(self) -> Splits:
        """Read the data set and cut it as the settings say. Raises DatasetError."""
        train, test, classes = self.read()
        validation = None
        if self.validation_fraction > 0:
            train, validation = stratified_split(train, 1 - self.validation_fraction, seed=self.split_seed)
        if self.fraction < 1:
            train, _ = stratified_split(train, self.fraction, seed=self.split_seed)
        return Splits(train, validation, test, classes)


@dataclass(frozen=True, kw_only=True)
class Digits(Dataset):
    """1,797 handwritten digits of scikit-learn (8x8), as 32x32 RGB: 1,437 to train on, 360 to test."""

    def read(self) -> tuple[ImageArrays, ImageArrays, tuple[str, ...]]:
        path = digits_file()
        try:
            lines = gzip.decompress(path.read_bytes()).splitlines()
            rows = np.array([line.split(b",") for line in lines], dtype=float)
            if rows.shape != (1797, 65):
                raise ValueError(f"its numbers are {list(rows.shape)}, not [1797, 65]")
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise DatasetError(f"dataset=digits: {path}: {error}; install scikit-learn anew") from error
        small = torch.from_numpy(rows[:, :-1]).float().reshape(-1, 1, 8, 8) * (255 / 16)
        large = F.interpolate(small, size=(32, 32), mode="bicubic", align_corners=False)
        images = large.round().clamp(0, 255).to(torch.uint8)[:, 0].numpy()
        arrays = make_arrays(images, rows[:, -1].astype(int), source="scikit-learn's digits", classes=10)
        # A fixed split, whatever the seeds: test figures of any two runs are comparable.
        train, test = stratified_split(arrays, 0.8, seed=0)
        return train, test, tuple(str(digit) for digit in range(10))


def digits_file() -> Path:
    """The file behind scikit-learn's load_digits, found without its import, which takes a second."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise DatasetError("dataset=digits: its images come with scikit-learn; install scikit-learn")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not path.exists():
        raise DatasetError(f"dataset=digits: {path} is missing; install scikit-learn anew")
    return path


@dataclass(frozen=True, kw_only=True)
class Cifar(Dataset):
    """CIFAR-10 or CIFAR-100 (`name`), downloaded into `root` at first use."""

    name: str
    root: str = "~/.cache/tenet"

    def read(self) -> tuple[ImageArrays, ImageArrays, tuple[str, ...]]:
        from torchvision import datasets

        source = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[self.name]
        root = user_path(self.root, key="dataset.root")
        timeout = socket.getdefaulttimeout()
        try:
            # Without it a network that swallows packets would hold the download forever.
            socket.setdefaulttimeout(30)
            train, test = (source(str(root), train=is_train, download=True) for is_train in (True, False))
        except (OSError, RuntimeError, EOFError, http.client.HTTPException) as error:
            raise DatasetError(
                f"{source.__name__} is not in {root} and could not be downloaded ({error}). "
                f"Put {source.filename} (MD5 {source.tgz_md5}) into {root} and run the command again, "
                "or use dataset=arrays dataset.path=FILE.npz"
            ) from error
        finally:
            socket.setdefaulttimeout(timeout)
        arrays = [
            make_arrays(part.data, np.array(part.targets), source=f"{source.__name__} in {root}")
            for part in (train, test)
        ]
        return arrays[0], arrays[1], tuple(train.classes)


@dataclass(frozen=True, kw_only=True)
class Arrays(Dataset):
    """An `.npz` file (`path`) with train_images, train_labels, test_images, test_labels and perhaps classes."""

    path: str

    def read(self) -> tuple[ImageArrays, ImageArrays, tuple[str, ...]]:
        return read_npz(user_path(self.path, key="dataset.path"))


@dataclass(frozen=True, kw_only=True)
class Folder(Dataset):
    """Clean images for evaluation alone, `path`/<class>/*.JPEG, such as ImageNet's validation set.

    resize, crop: the shorter side is scaled to `resize` pixels and the middle `crop` x `crop` kept; null: as is.
    """

    path: str
    resize: int | None = None
    crop: int | None = None

    def read(self) -> tuple[ImageArrays, ImageArrays, tuple[str, ...]]:
        raise DatasetError(
            "dataset=folder is for evaluate.py alone: it streams images and has no training set"
        )

    def test_set(self) -> EvaluationSet:
        from tenet.corruptions.folders import ClassFolder

        folder = ClassFolder(user_path(self.path, key="dataset.path"), resize=self.resize, crop=self.crop)
        times = {name: (folder.root / name).stat().st_mtime_ns for name in folder.classes}
        origin = {
            "path": str(folder.root.resolve()),
            "resize": self.resize,
            "crop": self.crop,
            "times": times,
        }
        return EvaluationSet(
            folder.classes, None, lambda batch_size: folder.batches(batch_size=batch_size), origin
        )
