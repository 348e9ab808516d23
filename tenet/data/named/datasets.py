"""The published data sets of image files that `dataset=` names."""

import logging
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

from tenet.data.image_datasets import ImageDataset
from tenet.data.index import ImageIndex
from tenet.data.named import cub200, imagenet, tiny_imagenet, voc2012
from tenet.data.named.tree import Archive, Listing, Tree
from tenet.data.source import Splits
from tenet.data.split import take_per_class
from tenet.files.paths import user_path
from tenet.rules import at_least

PARTS = {"train": "training", "test": "test"}
logger = logging.getLogger("tenet")


class Counts(NamedTuple):
    """Of the published data set."""

    classes: int
    train: int
    test: int


@dataclass(frozen=True, kw_only=True)
class PublishedImages(ImageDataset):
    """Base class of data sets in the layout of their own archive. path: the folder that the archive unpacks to."""

    archive: ClassVar[Archive]
    counts: ClassVar[Counts | None] = None
    """None: not known."""

    path: str

    @abstractmethod
    def list_files(self, root: Path) -> Listing:
        """The images of both parts. Raises DatasetError if the layout is not that of the archive."""

    def train_index(self) -> ImageIndex:
        return self._index("train")

    def test_index(self) -> ImageIndex:
        return self._index("test")

    def _index(self, part: str) -> ImageIndex:
        root = user_path(self.path, key="dataset.path")
        listing = self.list_files(root)
        files: Iterable[tuple[str, Any]] = getattr(listing, part)
        index = ImageIndex.build(root, files, classes=listing.classes)
        if len(index) == 0:
            raise Tree(root, self.archive).error(f"there are no {PARTS[part]} images")
        if not self.multi_label:
            self._check_classes(index, root, part)
        expected = getattr(self.counts, part, len(index))
        if self.counts and self.counts.classes == len(listing.classes) and len(index) != expected:
            logger.warning(
                "%s holds %s %s images, the published data set %s: figures of the two can't be compared",
                root, f"{len(index):,}", PARTS[part], f"{expected:,}",
            )  # fmt: skip
        return index

    def _check_classes(self, index: ImageIndex, root: Path, part: str) -> None:
        counts = index.labels.bincount(minlength=len(index.classes))
        if not counts.all():
            name = index.classes[int(counts.argmin())]
            raise Tree(root, self.archive).error(f"class {name} has no {PARTS[part]} image")


@dataclass(frozen=True, kw_only=True)
class TinyImageNet(PublishedImages):
    """200 classes of ImageNet at 64 x 64 pixels; its validation images are the test images.

    Source: the course CS231n of Stanford.
    """

    archive = tiny_imagenet.ARCHIVE
    counts = Counts(200, 100_000, 10_000)
    corruptions_note = (
        "the images of Tiny-ImageNet-C are not corrupted versions of the clean ones: both come from ImageNet, but they are "
        "different images"
    )

    def list_files(self, root: Path) -> Listing:
        return tiny_imagenet.list_tiny_imagenet(root)


@dataclass(frozen=True, kw_only=True)
class Cub200(PublishedImages):
    """CUB-200-2011: 200 species of birds.

    per_class: train on at most this many images of each class, drawn by `split_seed`; the images of a smaller number are
    among those of a larger one. null: all, about 30.

    Source: Wah et al., The Caltech-UCSD Birds-200-2011 dataset, 2011.
    """

    archive = cub200.ARCHIVE
    counts = Counts(200, 5_994, 5_794)

    per_class: Annotated[int, at_least(1)] | None = None

    def list_files(self, root: Path) -> Listing:
        return cub200.list_cub200(root)

    def load(self) -> Splits:
        splits = super().load()
        if self.per_class is None:
            return splits
        return splits._replace(train=take_per_class(splits.train, self.per_class, seed=self.split_seed))


@dataclass(frozen=True, kw_only=True)
class Voc2012(PublishedImages):
    """PASCAL VOC 2012, classification: any number of twenty classes in an image; trained on its training images and
    tested on its validation images. Objects that are marked as difficult do not count.

    Source: Everingham et al., The PASCAL Visual Object Classes Challenge 2012.
    """

    archive = voc2012.ARCHIVE
    multi_label = True

    def list_files(self, root: Path) -> Listing:
        return voc2012.list_voc2012(root)


@dataclass(frozen=True, kw_only=True)
class ImageNet(PublishedImages):
    """ImageNet-1k (ILSVRC 2012), or a subset of its classes; its validation images are the test images.

    classes: the WordNet ids to use; null: all. class_step: use the first of them and every class_step-th after it, in
    the order of the ids; 10 gives PRIME's ImageNet-100.

    Source: Russakovsky et al. 2015, arXiv 1409.0575.
    """

    archive = imagenet.ARCHIVE
    counts = Counts(1000, 1_281_167, 50_000)

    classes: Sequence[str] | None = None
    class_step: Annotated[int, at_least(1)] = 1

    def list_files(self, root: Path) -> Listing:
        return imagenet.list_imagenet(root, classes=self.classes, class_step=self.class_step)
