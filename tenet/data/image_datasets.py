"""Data sets whose images stay on disk: a base class for any layout, and folders with a subfolder for each class."""

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tenet.data.crops import Crops
from tenet.data.datasets import Dataset
from tenet.data.folders import find_classes, index_folder
from tenet.data.images import Images
from tenet.data.index import ImageIndex
from tenet.data.packed import open_pack
from tenet.data.source import ImageSource
from tenet.data.split import stratified_split
from tenet.errors import DatasetError
from tenet.files.paths import user_path
from tenet.rules import above, at_least, at_most, below, length

# The parts of a folder and of a packed file; ALL: one part, which is not split into training and test images.
TRAIN, TEST, ALL = "train", "test", "all"
TEST_FOLDERS = ("val", "test", "valid", "validation")
logger = logging.getLogger("tenet")


@dataclass(frozen=True, kw_only=True)
class ImageDataset(Dataset):
    """Base class of data sets whose images are read from disk in every epoch. A subclass lists the files of both parts.

    resize, crop: for tests, scale the shorter side to `resize` pixels and keep the central `crop` x `crop`; null: leave
    as is. Without a crop, all images must have one size.
    scale, ratio: for training, scale a random box of this share of the area and this ratio of width to height to
    `crop` x `crop`, as torchvision's RandomResizedCrop does; scale=null: scale the image as for tests, then cut out
    `crop` x `crop` at a random place.
    upright: turn images as their EXIF orientation says, as viewers of photographs do; torchvision does not.
    workers: processes that decode; 0: the main process does; null: one for each core, at most 8. No result depends on
    this number.
    """

    resize: Annotated[int, at_least(1), at_most(8192)] | None = 256
    crop: Annotated[int, at_least(1), at_most(8192)] | None = 224
    scale: Annotated[Sequence[Annotated[float, above(0), at_most(1)]], length(2)] | None = (0.08, 1.0)
    ratio: Annotated[Sequence[Annotated[float, above(0), at_most(100)]], length(2)] = (0.75, 4 / 3)
    upright: bool = False
    workers: Annotated[int, at_least(0), at_most(256)] | None = None

    def __post_init__(self) -> None:
        for name in ("scale", "ratio"):
            value = getattr(self, name)
            if value is not None and value[0] > value[1]:
                raise ValueError(
                    f"{name}={list(value)}: the first number must not be greater than the second"
                )
        if self.resize is not None and self.crop is not None and self.crop > self.resize:
            raise ValueError(
                f"crop={self.crop}: tests can't cut it out of images whose shorter side has resize={self.resize} pixels; "
                "raise dataset.resize"
            )

    @abstractmethod
    def train_index(self) -> ImageIndex:
        """The training images. Raises DatasetError if the files are not as they should be."""

    @abstractmethod
    def test_index(self) -> ImageIndex:
        """The test images; the same classes in the same order."""

    def open(self, index: ImageIndex) -> Images:
        """The images of an index, cut as the settings say."""
        scale = None if self.scale is None else (self.scale[0], self.scale[1])
        crops = Crops(self.resize, self.crop, scale, (self.ratio[0], self.ratio[1]), upright=self.upright)
        return Images(index, crops, workers=self.workers)

    def read(self) -> tuple[ImageSource, ImageSource]:
        return self.open(self.train_index()), self.open(self.test_index())

    def test_source(self) -> ImageSource:
        return self.open(self.test_index())


@dataclass(frozen=True, kw_only=True)
class ImageFolders(ImageDataset):
    """Images in `path`/train/<class>/ and `path`/val/<class>/ (or test), or in `path`/<class>/ without separate parts; or
    a file that `python -m tenet.data.pack` wrote of such a folder.

    test_fraction: if there is no train folder, the share of the images that become the test set, stratified by class; the
    same images for all seeds.
    """

    path: str
    test_fraction: Annotated[float, above(0), below(1)] | None = None

    def files(self) -> Sequence[Path]:
        return (self._root,) if self._root.is_file() else ()

    def parts(self, *names: str) -> Mapping[str, ImageIndex]:
        """The indexes of TRAIN and TEST, or of ALL without a train folder. names: the parts that are needed."""
        if self._root.is_file():
            return open_pack(self._root)
        if not (self._root / TRAIN).is_dir():
            return {ALL: index_folder(self._root)}
        classes = find_classes(self._root / TRAIN)
        folders = {TRAIN: self._root / TRAIN, TEST: find_test_folder(self._root)}
        return {
            name: index_folder(folder, classes=classes)
            for name, folder in folders.items()
            if name in names or not names
        }

    def train_index(self) -> ImageIndex:
        return self._part(TRAIN)

    def test_index(self) -> ImageIndex:
        return self._part(TEST)

    def read(self) -> tuple[ImageSource, ImageSource]:
        parts = self.parts()
        if ALL not in parts:
            if self.test_fraction is not None:
                raise DatasetError(
                    f"dataset.test_fraction={self.test_fraction:g}: {self._root} has test images of its own; leave it out"
                )
            return self.open(parts[TRAIN]), self.open(parts[TEST])
        if self.test_fraction is None:
            raise DatasetError(
                f"{self._root} has no folder train; give the folder that holds train and val (or test), or split its "
                "classes with dataset.test_fraction=0.2"
            )
        test, train = stratified_split(self.open(parts[ALL]), self.test_fraction, seed=0)
        return train, test

    def test_source(self) -> ImageSource:
        return self.open(self._part(TEST)) if self.test_fraction is None else self.read()[1]

    @property
    def _root(self) -> Path:
        return user_path(self.path, key="dataset.path")

    def _part(self, name: str) -> ImageIndex:
        parts = self.parts(name)
        if name not in parts:
            raise DatasetError(
                f"{self._root} has no folder {name}; dataset.test_fraction=0.2 splits its classes"
            )
        return parts[name]


@dataclass(frozen=True, kw_only=True)
class Folder(ImageDataset):
    """Clean images for evaluation alone, `path`/<class>/**/*.JPEG, such as ImageNet's validation set."""

    path: str

    def train_index(self) -> ImageIndex:
        raise DatasetError(
            "dataset=folder is for evaluate.py alone, it has no training set; train with dataset=images"
        )

    def test_index(self) -> ImageIndex:
        return index_folder(user_path(self.path, key="dataset.path"))


def find_test_folder(root: Path) -> Path:
    """The first of TEST_FOLDERS that is there; a warning names the others. Raises DatasetError if there is none."""
    found = [name for name in TEST_FOLDERS if (root / name).is_dir()]
    if not found:
        raise DatasetError(
            f"{root} has a folder train, but no folder {', '.join(TEST_FOLDERS[:-1])} or {TEST_FOLDERS[-1]}; add the "
            f"test images, or split the others: dataset.path={root / TRAIN} dataset.test_fraction=0.2"
        )
    if others := found[1:]:
        logger.warning("%s: the test images are those of %s; not read: %s", root, found[0], ", ".join(others))
    return root / found[0]
