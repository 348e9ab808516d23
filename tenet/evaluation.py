"""Clean error, and the sweep over corruptions and severities."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from tenet.metrics import mean_corruption_error
from tenet.training import autocast


@runtime_checkable
class CorruptionSource(Protocol):
    """Corrupted images by cell: the official archives (`kind` files) or the generator (generated)."""

    kind: str

    @property
    def names(self) -> Sequence[str]: ...

    def cell(
        self, corruption: str, severity: int
    ) -> tuple[UInt8[Tensor, "image h w 3"], Int64[Tensor, " image"]]: ...


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
        """In eval mode, on the model's device; the model's mode is put back afterwards."""
        device = next(self.model.parameters()).device
        memory_format = torch.channels_last if self.channels_last else torch.contiguous_format
        was_training = self.model.training
        self.model.eval()
        parts = []
        for batch in images.split(self.batch_size):
            images_01 = batch.to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255
            with autocast(device, self.precision):
                inputs = self.normalize(images_01).contiguous(memory_format=memory_format)
                parts.append(self.model(inputs).float())
        self.model.train(was_training)
        return torch.cat(parts)

    def wrong(
        self, images: UInt8[Tensor, "image h w 3"], labels: Int64[Tensor, " image"]
    ) -> Bool[Tensor, " image"]:
        """Which images are misclassified, on the model's device: the host does not wait."""
        predicted = self.logits(images).argmax(dim=1)
        return predicted != labels.to(predicted.device, non_blocking=True)

    def error_pct(self, images: UInt8[Tensor, "image h w 3"], labels: Int64[Tensor, " image"]) -> float:
        return 100 * self.wrong(images, labels).double().mean().item()


class Cell(NamedTuple):
    corruption: str
    severity: int
    error_pct: float
    images: int


def sweep(
    classifier: Classifier, source: CorruptionSource, *, corruptions: Sequence[str], severities: Sequence[int]
) -> Iterator[Cell]:
    """Yield the error of every corruption at every severity, in order, as each is measured."""
    for corruption in corruptions:
        for severity in severities:
            images, labels = source.cell(corruption, severity)
            yield Cell(corruption, severity, classifier.error_pct(images, labels), len(labels))


@dataclass(frozen=True)
class RobustnessReport:
    """What an evaluation found. `mean_names` are the corruptions whose mean is the mCE; others stand apart.

    source: files or generated; the two are never mixed in one report.
    """

    source: str
    clean_error_pct: float
    clean_images: int
    cells: tuple[Cell, ...]
    mean_names: tuple[str, ...]

    @property
    def errors(self) -> dict[str, dict[int, float]]:
        table: dict[str, dict[int, float]] = {}
        for cell in self.cells:
            table.setdefault(cell.corruption, {})[cell.severity] = cell.error_pct
        return table

    @property
    def mce_pct(self) -> float | None:
        """None unless all corruptions of the mean were measured at all five severities."""
        errors = self.errors
        if any(len(errors.get(name, {})) != 5 for name in self.mean_names):
            return None
        return mean_corruption_error(errors, self.mean_names)

    def metrics(self) -> dict[str, float]:
        """By the metric names of the project, such as corruption/fog/3/error_pct."""
        metrics = {"test/error_pct": self.clean_error_pct}
        if self.mce_pct is not None:
            metrics["corruption/mce_pct"] = self.mce_pct
        for cell in self.cells:
            metrics[f"corruption/{cell.corruption}/{cell.severity}/error_pct"] = cell.error_pct
        for name, by_severity in self.errors.items():
            metrics[f"corruption/{name}/error_pct"] = float(np.mean(list(by_severity.values())))
        return metrics

    def as_json(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """`about` says what was evaluated; it stands first."""
        return {
            **about,
            "source": self.source,
            "clean": {"error_pct": self.clean_error_pct, "images": self.clean_images},
            "mce_pct": self.mce_pct,
            "corruptions": {
                name: {str(severity): error for severity, error in by_severity.items()}
                for name, by_severity in self.errors.items()
            },
            "images_per_cell": min((cell.images for cell in self.cells), default=0),
        }
