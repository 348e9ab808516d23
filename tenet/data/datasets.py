"""The data sets that `dataset=` names. Constructing one reads nothing; `load` does."""

import http.client
import importlib.util
import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
import torch
from torch.nn import functional as F

from tenet.data.arrays import make_arrays, read_npz, read_test_npz
from tenet.data.source import ImageSource, Splits
from tenet.data.split import split, stratified_split
from tenet.errors import DatasetError
from tenet.files.atomic import locked
from tenet.files.paths import user_path
from tenet.rules import above, at_least, at_most, below, length

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10


@dataclass(frozen=True, kw_only=True)
class Dataset(ABC):
    """Settings common to all data sets.

    validation_fraction: share of the training set held out for validation, [0, 1).
    fraction: share of the remaining training set to use, (0, 1]: the low-data regime. Both are stratified by class; of
        multi-label images they are drawn at random.
    split_seed: the seed of both; it does not change with the training seed.
    mean, std: by channel, of images in [0, 1], for normalisation.
    """

    corruptions_note: ClassVar[str] = ""
    """A note for reports on the published corrupted images of this data set."""

    fraction: Annotated[float, above(0), at_most(1)] = 1.0
    validation_fraction: Annotated[float, at_least(0), below(1)] = 0.0
    split_seed: Annotated[int, at_least(0), at_most(2**32 - 1)] = 0
    mean: Annotated[Sequence[float], length(3)] = (0.5, 0.5, 0.5)
    std: Annotated[Sequence[Annotated[float, above(0)]], length(3)] = (0.5, 0.5, 0.5)

    multi_label = False
    """Whether an image may have several classes; its labels are then a row, see `ImageSource`."""

    @abstractmethod
    def read(self) -> tuple[ImageSource, ImageSource]:
        """The whole training set and the test set."""

    def files(self) -> Sequence[Path]:
        """The files that `read` reads, if a few files hold all images and labels.

        While these files are unchanged, the data of a finished run is not compared again.
        """
        return ()

    def test_source(self) -> ImageSource:
        """The test set, for evaluation."""
        return self.load().test

    def load(self) -> Splits:
        """Read the data set and split it by the settings. Raises DatasetError."""
        train, test = self.read()
        if len(train.classes) == 1:
            raise DatasetError(
                f"dataset: {train.classes[0]} is the only class of its {len(train)} training images, but a classifier needs "
                "two; for images in folders, give the folder that contains the classes' folders as dataset.path"
            )
        validation = None
        if self.validation_fraction > 0:
            train, validation = split(train, 1 - self.validation_fraction, seed=self.split_seed)
        if self.fraction < 1:
            train, _ = split(train, self.fraction, seed=self.split_seed)
        return Splits(train, validation, test)


@dataclass(frozen=True, kw_only=True)
class Digits(Dataset):
    """1,797 handwritten digits of scikit-learn (8x8), as 32x32 RGB: 1,437 to train on, 360 to test."""

    def files(self) -> Sequence[Path]:
        package = importlib.util.find_spec("sklearn")  # not imported, which takes a second
        if package is None or package.origin is None:
            raise DatasetError("dataset=digits: its images come with scikit-learn; install scikit-learn")
        return (Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz",)

    def read(self) -> tuple[ImageSource, ImageSource]:
        (path,) = self.files()
        try:
            rows = np.loadtxt(path, delimiter=",")
            small = torch.from_numpy(rows[:, :-1]).float().reshape(1797, 1, 8, 8) * (255 / 16)
        except Exception as error:  # the file may be missing or damaged in many ways
            raise DatasetError(f"dataset=digits: {path}: {error}; reinstall scikit-learn") from error
        large = F.interpolate(small, size=(32, 32), mode="bicubic", align_corners=False)
        images = large.round().clamp(0, 255).to(torch.uint8)[:, 0].numpy()
        arrays = make_arrays(images, rows[:, -1].astype(int), source=str(path), classes=list("0123456789"))
        # The split is the same for all seeds, so that test figures of any two runs are comparable.
        return stratified_split(arrays, 0.8, seed=0)


@dataclass(frozen=True, kw_only=True)
class Cifar(Dataset):
    """CIFAR-10 or CIFAR-100 (`name`), downloaded into `root` at first use."""

    name: Literal["cifar10", "cifar100"]
    root: str = "~/.cache/tenet"

    def files(self) -> Sequence[Path]:
        source = self._source()
        folder = user_path(self.root, key="dataset.root") / source.base_folder
        listed = [*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])]
        return [folder / name for name, _ in listed]

    def _source(self) -> "type[CIFAR10]":
        from torchvision import datasets

        return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[self.name]

    def read(self) -> tuple[ImageSource, ImageSource]:
        from torchvision.datasets.utils import check_integrity

        source = self._source()
        root = user_path(self.root, key="dataset.root")
        timeout = socket.getdefaulttimeout()
        try:
            # Without it, a network that drops packets would block the download forever.
            socket.setdefaulttimeout(30)
            try:
                train, test = _open_cifar(source, root)
            except RuntimeError:  # it is missing or incomplete
                with locked(root / f".{self.name}.lock", reason=f"it downloads {source.__name__}"):
                    train, test = _open_cifar(source, root, download=True)
        except (OSError, RuntimeError, EOFError, http.client.HTTPException) as error:
            archive = root / source.filename
            is_other = archive.exists() and not check_integrity(str(archive), source.tgz_md5)
            found = (
                f"{archive} is not the published file" if is_other else f"{source.__name__} is not in {root}"
            )
            raise DatasetError(
                f"{found} and could not be downloaded ({error}). "
                f"Put {source.filename} (MD5 {source.tgz_md5}) into {root} and run the command again, "
                "give dataset.root=ANOTHER_FOLDER, or use dataset=arrays dataset.path=FILE.npz"
            ) from error
        finally:
            socket.setdefaulttimeout(timeout)
        where = f"{source.__name__} in {root}"
        first, second = (
            make_arrays(part.data, np.array(part.targets), source=where, classes=train.classes)
            for part in (train, test)
        )
        return first, second


def _open_cifar(
    source: type["CIFAR10"], root: Path, *, download: bool = False
) -> tuple["CIFAR10", "CIFAR10"]:
    """torchvision's training and test set. Raises RuntimeError if `root` lacks them, or holds other files."""
    train, test = (source(str(root), train=is_train, download=download) for is_train in (True, False))
    return train, test


@dataclass(frozen=True, kw_only=True)
class Arrays(Dataset):
    """An `.npz` file (`path`) with train_images, train_labels, test_images, test_labels and, optionally, classes.

    multi_label: labels are [N, class], 1 present, 0 absent, -1 not counted.
    For evaluation, the test images and labels are enough.
    """

    path: str
    multi_label: bool = False

    def files(self) -> Sequence[Path]:
        return (user_path(self.path, key="dataset.path"),)

    def read(self) -> tuple[ImageSource, ImageSource]:
        return read_npz(user_path(self.path, key="dataset.path"), multi_label=self.multi_label)

    def test_source(self) -> ImageSource:
        return read_test_npz(user_path(self.path, key="dataset.path"), multi_label=self.multi_label)
