"""The base class of sources of labelled images, which are read by id; subsets of a source, and the splits of a data set."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Int, Int64, UInt8
from torch import Tensor

from tenet.files.weights import checksum


class ImageBatch(NamedTuple):
    """Images and their labels, on one device. labels: [batch], or [batch, class] if an image may have several."""

    images: UInt8[Tensor, "batch h w 3"]
    labels: Int[Tensor, "batch *class"]


class ImageSource(ABC):
    """Labelled images that are read by id, from 0 to len - 1.

    A source only reads: the order of an epoch, the share of each process and the augmentation belong to the loader.
    Everything that a source draws itself, such as a random crop while decoding, is a function of (seed, epoch, id),
    so that training resumes exactly.
    """

    classes: tuple[str, ...]
    """Names, in the order of the labels."""
    labels: Int[Tensor, "image *class"]
    """The labels of all images, known without reading the images. int64 [image], or int8 [image, class] if an image may
    have several classes: 1 present, 0 absent, -1 not counted."""

    @property
    def is_multi_label(self) -> bool:
        return self.labels.ndim == 2

    @abstractmethod
    def batches(self, ids: Iterable[Int64[Tensor, " _"]], *, epoch: int = 0) -> Iterator[ImageBatch]:
        """Yield the images and labels of each tensor of ids, in its order.

        epoch: counts from 0; only a source that draws randomly depends on it.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """A short text that differs if any image, label or class does."""

    def content_fingerprint(self) -> str:
        """A fingerprint that is the same for a copy of the images elsewhere; by default that of `fingerprint`."""
        return self.fingerprint()

    def __len__(self) -> int:
        return len(self.labels)

    def images_by_class(self) -> list[int]:
        """How many images show each class."""
        if self.is_multi_label:
            return (self.labels == 1).sum(dim=0).tolist()
        return torch.bincount(self.labels, minlength=len(self.classes)).tolist()

    @property
    def held_bytes(self) -> int:
        """The bytes of memory that the source takes as long as it exists."""
        return self.labels.nbytes

    def image_size(self) -> tuple[int, int]:
        """Height and width, which all images share. By default, the first image is read to find them."""
        first = self.read(torch.zeros(1, dtype=torch.int64))
        return first.images.shape[1], first.images.shape[2]

    def read(self, ids: Int64[Tensor, " chosen"]) -> ImageBatch:
        """The images with these ids, in one batch."""
        return next(iter(self.batches([ids])))

    def take(self, ids: Int64[Tensor, " chosen"]) -> "ImageSource":
        """The images with these ids, as a source."""
        return Subset(self, ids)

    def to(self, device: torch.device | str) -> "ImageSource":
        """The source with its images on the device, if it holds them in memory; by default the source itself."""
        return self

    def for_training(self, seed: int) -> "ImageSource":
        """The source as training reads it: with random crops, drawn by `seed`; by default the source itself."""
        return self


class Subset(ImageSource):
    """The images of `source` with the given ids, which count from 0 here."""

    def __init__(self, source: ImageSource, ids: Int64[Tensor, " chosen"]) -> None:
        self.source, self.ids = source, ids
        self.classes, self.labels = source.classes, source.labels[ids]

    def batches(self, ids: Iterable[Int64[Tensor, " _"]], *, epoch: int = 0) -> Iterator[ImageBatch]:
        return self.source.batches((self.ids[chosen] for chosen in ids), epoch=epoch)

    def fingerprint(self) -> str:
        return checksum([self.source.fingerprint(), self.ids])[:16]

    @property
    def held_bytes(self) -> int:
        return self.source.held_bytes + self.ids.nbytes + self.labels.nbytes

    def content_fingerprint(self) -> str:
        return checksum([self.source.content_fingerprint(), self.ids])[:16]

    def image_size(self) -> tuple[int, int]:
        return self.source.image_size()

    def to(self, device: torch.device | str) -> "Subset":
        return Subset(self.source.to(device), self.ids)

    def for_training(self, seed: int) -> "Subset":
        return Subset(self.source.for_training(seed), self.ids)


class Splits(NamedTuple):
    """The splits of a data set. `validation` is None unless a part of the training set is held out."""

    train: ImageSource
    validation: ImageSource | None
    test: ImageSource

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes
