"""Predictions of a network for any source of images."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tenet.data import ImageBatch, ImageSource, to_images_01
from tenet.errors import NonFiniteOutputError
from tenet.evaluation.measures import Predictions
from tenet.networks import Network
from tenet.run.progress import ProgressReport

# CPU chunk size: larger batches overflow the cache and make malloc return memory to the system at every step.
CPU_IMAGES = 64


@dataclass(frozen=True)
class Classifier:
    """A network that predicts the classes of uint8 images, `batch_size` of them at a time.

    order: the network's output for each class of the data (see `match_classes`); None: the same order.
    """

    network: Network
    batch_size: int = 1000
    order: tuple[int, ...] | None = None

    def predict(
        self, source: ImageSource, ids: Tensor | None = None, *, title: str | None = None
    ) -> Predictions:
        """Predictions for the images of the source, in order, or for those with the given ids; see `predict_batches`.

        title: show progress under this name.
        """
        ids = torch.arange(len(source)) if ids is None else ids
        batches = source.batches(ids.split(self.batch_size))
        if title is None:
            return self.predict_batches(batches)
        with ProgressReport(title, total=len(ids), unit="image") as progress:
            return self.predict_batches(show_progress(batches, progress))

    def predict_batches(self, batches: Iterable[ImageBatch]) -> Predictions:
        """Predictions on the host, which waits for the device once: at the end.

        Runs in eval mode and restores the network's mode. Raises ValueError without images and NonFiniteOutputError
        if an output is not finite.
        """
        was_training = self.network.training
        self.network.eval()
        parts = []
        for images, labels in batches:
            log_probabilities = self.logits(images).log_softmax(dim=1)
            targets = labels.to(log_probabilities.device, non_blocking=True)
            likelihood, predicted = log_probabilities.max(dim=1)
            true_likelihood = log_probabilities.gather(1, targets[:, None]).squeeze(1)
            # Class numbers are exact in float32, so that one tensor carries everything to the host.
            parts.append(
                torch.stack([predicted.float(), targets.float(), likelihood.exp(), -true_likelihood])
            )
        self.network.train(was_training)
        if not parts:
            raise ValueError("there are no images to evaluate")
        predicted, labels, confidence, likelihood = torch.cat(parts, dim=1).cpu()
        if not torch.isfinite(likelihood).all():
            raise NonFiniteOutputError(
                "the model's outputs are not finite: check its weights and the precision"
            )
        return Predictions(predicted.long(), labels.long(), confidence, likelihood)

    @torch.no_grad()
    def logits(self, images: UInt8[Tensor, "image h w 3"]) -> Float[Tensor, "image class"]:
        """Logits of one batch, on the network's device; the network must be in eval mode."""
        device = self.network.mean.device
        if device.type == "cpu" and len(images) > CPU_IMAGES:
            return torch.cat([self.logits(part) for part in images.split(CPU_IMAGES)])
        logits = self.network(to_images_01(images.to(device, non_blocking=True)))
        return logits if self.order is None else logits[:, list(self.order)]


def show_progress(batches: Iterable[ImageBatch], progress: ProgressReport) -> Iterator[ImageBatch]:
    """The batches; each counts as done when the next one is asked for."""
    done = 0
    for batch in batches:
        yield batch
        done += len(batch[1])
        progress.update(done, "")
