"""Batches for training: in random order by (seed, epoch), augmented, divided among processes, from any step."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Int64
from torch import Tensor

from tenet.augment.views import Augmentation
from tenet.data.source import ImageSource
from tenet.methods.method import Batch, Draw
from tenet.mixing import DataFacts, Mixing
from tenet.randomness import make_generator


class TrainingLoader:
    """Yields the augmented and mixed batches of an epoch on `device`.

    views_together: the views of each sample that a batch holds together. 1: an epoch is all views of all images,
        shuffled. More: an epoch is all images, and each batch has that many views of its samples.
    batch_size: samples, of all processes. The last batch of an epoch may be smaller. With several `processes` that
        train together, each takes a share of every batch, by its `rank`.
    """

    def __init__(
        self,
        source: ImageSource,
        *,
        augmentation: Augmentation,
        mixing: Mixing | None = None,
        facts: DataFacts | None = None,
        views_together: int = 1,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.source = source
        self.augmentation, self.mixing, self.facts = augmentation, mixing, facts
        self.views_together = views_together
        self.views = augmentation.views if views_together == 1 else (augmentation.view,)
        self.batch_size = batch_size
        self.seed = seed
        self.device = torch.device(device)
        self.rank, self.processes = rank, processes

    @property
    def samples_per_epoch(self) -> int:
        return len(self.source) * len(self.views)

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.samples_per_epoch / self.batch_size)

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of `epoch` (from 0), from its batch `start` on; they depend on nothing else."""
        # Drawn on the host, so that the number of samples of each view is known without waiting for the device.
        shuffle = make_generator("cpu", seed=self.seed, purpose="order", step=epoch)
        order = torch.randperm(self.samples_per_epoch, generator=shuffle)
        plan = [self._by_view(self._share(chosen)) for chosen in order.split(self.batch_size)[start:]]
        read = self.source.batches(map(torch.cat, plan), epoch=epoch)
        steps_before = epoch * self.steps_per_epoch + start
        for step, (ids_by_view, (images, labels)) in enumerate(
            zip(plan, read, strict=True), steps_before + 1
        ):
            # Draws of the loader depend on the number of steps before this one, those of methods on the number of the step.
            generator = make_generator(
                self.device, seed=self.seed, purpose="augment", step=step - 1, rank=self.rank
            )
            batch = Batch(
                images=self._augment(images, [len(ids) for ids in ids_by_view], generator),
                labels=labels.to(self.device, non_blocking=True),
                step=step,
                draw=Draw(self.device, seed=self.seed, step=step, rank=self.rank),
                views=self.views_together,
            )
            if self.mixing is not None:
                assert self.facts is not None
                batch = self.mixing.mix(batch, self.facts)
            yield batch

    def _share(self, chosen: Int64[Tensor, " batch"]) -> Int64[Tensor, " share"]:
        """This process's part of a batch. Every process must take part in every step: if the last batch has fewer
        samples than there are processes, some samples are used twice."""
        share = chosen[self.rank :: self.processes]
        return share if len(share) else chosen[self.rank % len(chosen)][None]

    def _by_view(self, chosen: Int64[Tensor, " share"]) -> list[Int64[Tensor, " ids"]]:
        images = len(self.source)
        return [chosen[chosen // images == view] % images for view in range(len(self.views))]

    def _augment(self, images: Tensor, counts: list[int], generator: torch.Generator) -> Tensor:
        images = images.to(self.device, non_blocking=True).permute(0, 3, 1, 2).contiguous()
        if self.views_together > 1:
            return self.augmentation.together(images, views=self.views_together, generator=generator)
        views = [
            view(part, generator=generator)
            for view, part in zip(self.views, images.split(counts), strict=True)
            if len(part)
        ]
        return views[0] if len(views) == 1 else torch.cat(views)  # cat copies a single one, too
