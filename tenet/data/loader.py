"""Batches of an array data set: on the device, ordered by (seed, epoch), from any step."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tenet.data.arrays import ImageArrays, Normalization
from tenet.randomness import make_generator

View = Callable[..., Tensor]


@runtime_checkable
class Augmentation(Protocol):
    """One epoch shows every image once through each of the views (uint8 batch, generator -> images_01)."""

    @property
    def views(self) -> Sequence[View]: ...


class Batch(NamedTuple):
    images: Float[Tensor, "batch 3 h w"]
    labels: Int64[Tensor, " batch"]


class TrainingLoader:
    """Hands out the augmented, normalised batches of an epoch; an epoch is all views of all images, shuffled.

    `arrays` live on the device where the batches are wanted. The last batch of an epoch may be smaller.
    Of `processes` that train together each takes a share of every batch, by its `rank`.
    """

    def __init__(
        self,
        arrays: ImageArrays,
        *,
        augmentation: Augmentation,
        normalization: Normalization,
        batch_size: int,
        seed: int,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.arrays = arrays
        self.views = augmentation.views
        self.normalization = normalization
        self.batch_size = batch_size
        self.seed = seed
        self.rank, self.processes = rank, processes

    @property
    def samples_per_epoch(self) -> int:
        return len(self.arrays.labels) * len(self.views)

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.samples_per_epoch / self.batch_size)

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` (from 0), from its batch `start` on; the same whoever asks, whenever."""
        device = self.arrays.labels.device
        # The order is drawn on the host, which so knows each view's share of a batch without a sync.
        shuffle = make_generator("cpu", seed=self.seed, purpose="order", step=epoch)
        order = torch.randperm(self.samples_per_epoch, generator=shuffle)
        for index in range(start, self.steps_per_epoch):
            chosen = self._share(order[index * self.batch_size : (index + 1) * self.batch_size])
            images = len(self.arrays.labels)
            by_view = [chosen[chosen // images == view] % images for view in range(len(self.views))]
            step = epoch * self.steps_per_epoch + index
            generator = make_generator(device, seed=self.seed, purpose="augment", step=step, rank=self.rank)
            yield self._batch([ids.to(device, non_blocking=True) for ids in by_view], generator)

    def _share(self, chosen: Int64[Tensor, " batch"]) -> Int64[Tensor, " share"]:
        """This process's part; where a last batch has fewer samples than there are processes, one that
        another process has too, since all must take part in every step."""
        share = chosen[self.rank :: self.processes]
        return share if len(share) else chosen[self.rank % len(chosen)][None]

    def _batch(self, ids_by_view: list[Tensor], generator: torch.Generator) -> Batch:
        parts = [
            view(self.arrays.images[ids].permute(0, 3, 1, 2).contiguous(), generator=generator)
            for view, ids in zip(self.views, ids_by_view, strict=True)
            if len(ids)
        ]
        labels = self.arrays.labels[torch.cat(ids_by_view)]
        return Batch(self.normalization(torch.cat(parts)), labels)
