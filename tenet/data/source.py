"""The base class of collections of labelled images, which are read by id."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor


class ImageBatch(NamedTuple):
    """Images and their labels, on one device."""

    images: UInt8[Tensor, "batch h w 3"]
    labels: Int64[Tensor, " batch"]


class ImageSource(ABC):
    """Labelled images that are read by id, from 0 to len - 1.

    A source only reads: the order of an epoch, the share of each process and the augmentation belong to the loader.
    Everything that a source draws itself, such as a random crop while decoding, is a function of (seed, epoch, id),
    so that training resumes exactly.
    """

    classes: tuple[str, ...]
    """Names, in the order of the labels."""
    labels: Int64[Tensor, " image"]
    """Of all images; known without reading them."""

    @abstractmethod
    def batches(self, ids: Iterable[Int64[Tensor, " _"]], *, epoch: int = 0) -> Iterator[ImageBatch]:
        """Yield the images and labels of each tensor of ids, in its order.

        epoch: counts from 0; only a source that draws randomly depends on it.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """A short text that differs if any image, label or class does."""

    def __len__(self) -> int:
        return len(self.labels)

    def image_size(self) -> tuple[int, int]:
        """Height and width of the first image, which all others share. Reads it."""
        first = next(iter(self.batches([torch.zeros(1, dtype=torch.int64)])))
        return first.images.shape[1], first.images.shape[2]
