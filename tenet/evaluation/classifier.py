"""What a classifier says of images: the sweep over corruptions and severities, and other benchmarks."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from tenet.corruptions.natural_shift import CLASSES as CIFAR10_CLASSES
from tenet.corruptions.natural_shift import SIZES, natural_shift
from tenet.corruptions.perturbations import PerturbationArchive, flip_probability, is_noise
from tenet.errors import DatasetError, NonFiniteOutputError
from tenet.evaluation.cache import PredictionCache
from tenet.evaluation.predictions import Predictions
from tenet.training.loop import autocast

# uint8 images [batch, h, w, 3] and labels [batch]
Batches = Iterable[tuple[Tensor, Tensor]]
# What a CPU takes at once: features of more leave its cache, and each of them asks the system for new memory.
CPU_IMAGES = 64


@runtime_checkable
class CorruptionSource(Protocol):
    """Corrupted images by cell: the official archives (`kind` files) or the generator (generated)."""

    kind: str

    @property
    def names(self) -> Sequence[str]: ...

    def batches(self, corruption: str, severity: int, *, batch_size: int) -> Batches: ...


@dataclass(frozen=True)
class Classifier:
    """A model with all that turns uint8 images into its predictions."""

    model: nn.Module
    normalize: Callable[[Tensor], Tensor]
    batch_size: int = 1000
    precision: str = "fp32"
    channels_last: bool = False

    @torch.no_grad()
    def logits(self, images: UInt8[Tensor, "image h w 3"]) -> Float[Tensor, "image class"]:
        """Of one batch, in float32, on the model's device; the model must be in eval mode."""
        device = next(self.model.parameters()).device
        if device.type == "cpu" and len(images) > CPU_IMAGES:
            return torch.cat([self.logits(part) for part in images.split(CPU_IMAGES)])
        memory_format = torch.channels_last if self.channels_last else torch.contiguous_format
        images_01 = images.to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255
        with autocast(device, self.precision):
            return self.model(self.normalize(images_01).contiguous(memory_format=memory_format)).float()

    def predict(self, batches: Batches) -> Predictions:
        """What the model says of every image, on the host, which waits once: at the end.

        Runs in eval mode and puts the model's mode back. Raises ValueError without images.
        """
        was_training = self.model.training
        self.model.eval()
        parts = []
        for images, labels in batches:
            log_probabilities = self.logits(images).log_softmax(dim=1)
            targets = labels.to(log_probabilities.device, non_blocking=True)
            likelihood, predicted = log_probabilities.max(dim=1)
            true_likelihood = log_probabilities.gather(1, targets[:, None]).squeeze(1)
            # Class numbers are exact in float32, and one tensor crosses to the host at once.
            parts.append(
                torch.stack([predicted.float(), targets.float(), likelihood.exp(), -true_likelihood])
            )
        self.model.train(was_training)
        if not parts:
            raise ValueError("there are no images to evaluate")
        predicted, labels, confidence, likelihood = torch.cat(parts, dim=1).cpu()
        if not torch.isfinite(likelihood).all():
            raise NonFiniteOutputError(
                "the model's outputs are not finite: its weights, or the precision, are at fault"
            )
        return Predictions(predicted.long(), labels.long(), confidence, likelihood)

    def wrong(
        self, images: UInt8[Tensor, "image h w 3"], labels: Int64[Tensor, " image"]
    ) -> Bool[Tensor, " image"]:
        """Which images are misclassified, on the host."""
        return self.predict(
            zip(images.split(self.batch_size), labels.split(self.batch_size), strict=True)
        ).wrong

    def error_pct(self, images: UInt8[Tensor, "image h w 3"], labels: Int64[Tensor, " image"]) -> float:
        return 100 * self.wrong(images, labels).double().mean().item()


class Cell(NamedTuple):
    corruption: str
    severity: int
    predictions: Predictions


def sweep(
    classifier: Classifier,
    source: CorruptionSource,
    *,
    corruptions: Sequence[str],
    severities: Sequence[int],
    store: PredictionCache | None = None,
) -> Iterator[Cell]:
    """Yield every corruption at every severity, in order; cells that `store` holds are not measured again."""
    for corruption in corruptions:
        for severity in severities:
            name = f"{corruption}-{severity}"
            predictions = store.load(name) if store else None
            if predictions is None:
                batches = source.batches(corruption, severity, batch_size=classifier.batch_size)
                predictions = classifier.predict(batches)
                if store:
                    store.save(name, predictions)
            yield Cell(corruption, severity, predictions)


def predict_natural_shift(classifier: Classifier, root: Path, *, classes: int) -> dict[str, Predictions]:
    """Predictions of the versions of CIFAR-10.1 that the folder holds. Raises DatasetError."""
    if classes != CIFAR10_CLASSES:
        raise DatasetError(
            f"{root}: CIFAR-10.1 needs a classifier of {CIFAR10_CLASSES} classes, not of {classes}"
        )
    versions = [name for name in SIZES if (root / f"cifar10.1_{name}_data.npy").exists()] or ["v6"]
    return {
        f"cifar10.1-{version}": classifier.predict(
            natural_shift(root, version).batches(classifier.batch_size)
        )
        for version in versions
    }


def sweep_perturbations(classifier: Classifier, archive: PerturbationArchive) -> Iterator[tuple[str, float]]:
    """Yield the flip probability of every perturbation, in order."""
    for name in archive.names:
        sequences = archive.sequences(name)
        frames = sequences.shape[1]
        chunk = max(1, classifier.batch_size // frames)
        parts = (
            torch.from_numpy(sequences[start : start + chunk].copy()).flatten(0, 1)
            for start in range(0, len(sequences), chunk)
        )
        # Flips need no labels.
        said = classifier.predict((images, torch.zeros(len(images), dtype=torch.int64)) for images in parts)
        yield name, flip_probability(said.predicted.unflatten(0, (-1, frames)), noise=is_noise(name))
