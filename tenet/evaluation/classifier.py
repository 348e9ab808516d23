"""Predictions of a network for any source of images."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tenet.data import ImageBatch, ImageSource, to_images_01
from tenet.distributed import SINGLE_PROCESS, ProcessGroup
from tenet.errors import NonFiniteOutputError
from tenet.evaluation.measures import AnyPredictions, Predictions, kind_of
from tenet.networks import Network
from tenet.run.progress import ProgressReport

# CPU chunk size: larger batches overflow the cache and make malloc return memory to the system at every step.
CPU_IMAGES = 64


@dataclass(frozen=True)
class Classifier:
    """A network that predicts the classes of uint8 images, `batch_size` of them at a time.

    order: the network's output for each class of the data (see `match_classes`); None: the same order.
    process_group: the processes that share the images; each takes every so many-th one and receives all predictions.
        `batch_size` is that of all of them together. The network must be the same in all processes.
    before_batch: called before each batch, as often in every process.
    """

    network: Network
    batch_size: int = 1000
    order: tuple[int, ...] | None = None
    process_group: ProcessGroup = SINGLE_PROCESS
    before_batch: Callable[[], None] = lambda: None

    def restricted(self, columns: tuple[int, ...]) -> "Classifier":
        """The same network, choosing from these classes of the data alone."""
        order = columns if self.order is None else tuple(self.order[column] for column in columns)
        return replace(self, order=order)

    def predict(
        self, source: ImageSource, ids: Tensor | None = None, *, title: str | None = None
    ) -> AnyPredictions:
        """Predictions for the images of the source, in order, or for those with the given ids; see `predict_batches`.

        title: show progress under this name.
        """
        ids = torch.arange(len(source)) if ids is None else ids
        rank, size = self.process_group.rank, self.process_group.size
        share, most = ids[rank::size], -(-len(ids) // size)
        batch_size = -(-self.batch_size // size)
        batches = self._announce(
            source.batches(share.split(batch_size) if len(share) else ()), count=-(-most // batch_size)
        )
        if title is None:
            return self.predict_batches(batches)
        with ProgressReport(title, total=len(share), unit="image") as progress:
            return self.predict_batches(show_progress(batches, progress))

    def _announce(self, batches: Iterable[ImageBatch], *, count: int) -> Iterator[ImageBatch]:
        """The batches, with `before_batch` called `count` times, although this process may have one batch less."""
        iterator = iter(batches)
        for _ in range(count):
            self.before_batch()
            yield from islice(iterator, 1)

    def predict_batches(self, batches: Iterable[ImageBatch]) -> AnyPredictions:
        """Predictions on the host, which waits for the device once: at the end.

        Runs in eval mode and restores the network's mode. Raises ValueError without images and NonFiniteOutputError
        if an output is not finite.
        """
        shares = [share for share in self.process_group.gather(self._pack(batches)) if share is not None]
        if not shares:
            raise ValueError("there are no images to evaluate")
        packed = interleave([packed for _, packed in shares])
        if not torch.isfinite(packed).all():
            raise NonFiniteOutputError(
                "the model's outputs are not finite: check its weights and the precision"
            )
        kind, _ = shares[0]
        return kind.unpack(packed)

    def _pack(self, batches: Iterable[ImageBatch]) -> tuple[type[AnyPredictions], Tensor] | None:
        """The packed predictions for this process's images, and their kind; None if it has no images."""
        was_training = self.network.training
        self.network.eval()
        parts = []
        kind: type[AnyPredictions] = Predictions
        for images, labels in batches:
            kind, logits = kind_of(labels), self.logits(images)
            parts.append(kind.pack(logits, labels.to(logits.device, non_blocking=True)))
        self.network.train(was_training)
        return (kind, torch.cat(parts).cpu()) if parts else None

    @torch.no_grad()
    def logits(self, images: UInt8[Tensor, "image h w 3"]) -> Float[Tensor, "image class"]:
        """Logits of one batch, on the network's device; the network must be in eval mode."""
        device = self.network.mean.device
        if device.type == "cpu" and len(images) > CPU_IMAGES:
            return torch.cat([self.logits(part) for part in images.split(CPU_IMAGES)])
        return self.in_order(self.network(to_images_01(images.to(device, non_blocking=True))))

    def in_order(self, logits: Float[Tensor, "image output"]) -> Float[Tensor, "image class"]:
        """The network's logits in the order of the data's classes."""
        return logits if self.order is None else logits[:, list(self.order)]


def interleave(shares: Sequence[Tensor]) -> Tensor:
    """Rows that were dealt out one by one, in their first order: row `i` is the next one of share `i % len(shares)`."""
    whole = shares[0].new_empty(sum(map(len, shares)), *shares[0].shape[1:])
    for rank, share in enumerate(shares):
        whole[rank :: len(shares)] = share
    return whole


def show_progress(batches: Iterable[ImageBatch], progress: ProgressReport) -> Iterator[ImageBatch]:
    """The batches; each counts as done when the next one is asked for."""
    done = 0
    for batch in batches:
        yield batch
        done += len(batch[1])
        progress.update(done, "")
