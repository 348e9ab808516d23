"""Predictions where an image may show several classes, with the same face as those of one class an image."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float32, Float64, Int8
from torch import Tensor
from torch.nn import functional as F

from tenet.evaluation.average_precision import average_precisions, mean_average_precision
from tenet.methods.labels import NOT_COUNTED, PRESENT


class MultiLabelPredictions(NamedTuple):
    """By image and class, on the host. labels: 1 present, 0 absent, -1 not counted in any figure.

    A class is predicted if its logit is above 0; the average precision depends on the order of the logits alone.
    """

    logits: Float32[Tensor, "image class"]
    labels: Int8[Tensor, "image class"]

    @classmethod
    def pack(
        cls, logits: Float[Tensor, "image class"], labels: Int8[Tensor, "image class"]
    ) -> Float32[Tensor, "image field"]:
        """See `Predictions.pack`."""
        return torch.cat([logits.float(), labels.float()], dim=1)

    @classmethod
    def unpack(cls, packed: Float32[Tensor, "image field"]) -> "MultiLabelPredictions":
        logits, labels = packed.chunk(2, dim=1)
        return cls(logits.contiguous(), labels.to(torch.int8))

    @property
    def counted(self) -> Bool[Tensor, "image class"]:
        return self.labels != NOT_COUNTED

    @property
    def errors(self) -> Float64[Tensor, " image"]:
        """By image, its wrong labels over the mean number of labels that count; their mean is the error."""
        wrong = ((self.logits > 0) != (self.labels == PRESENT)) & self.counted
        return wrong.sum(dim=1).double() * len(self.labels) / self.counted.sum().clamp(min=1)

    @property
    def error_pct(self) -> float:
        """The share of the labels that are wrong, of those that count."""
        return 100 * self.errors.mean().item()

    def training_figures(self) -> dict[str, float]:
        """What training reports after an epoch: error, loss and, unless no class occurs, two mean average precisions."""
        figures = {"error_pct": self.error_pct, **self.figures()}
        figures.pop("map_step_sum_pct", None)
        figures["loss"] = figures.pop("nll")
        return figures

    def figures(self, *, calibration: bool = True, likelihood: bool = True) -> dict[str, float]:
        """The mean average precision in three definitions, unless no class occurs; the mean binary cross-entropy of a
        label (`likelihood`), in nats. There is no calibration error."""
        figures = {}
        if (found := mean_average_precision(average_precisions(self.logits, self.labels))) is not None:
            figures["map_pct"] = 100 * found.all_points
            figures["map_11point_pct"] = 100 * found.eleven_points
            figures["map_step_sum_pct"] = 100 * found.step_sum
        if likelihood:
            targets = (self.labels == PRESENT).double()
            losses = F.binary_cross_entropy_with_logits(self.logits.double(), targets, reduction="none")
            figures["nll"] = (losses * self.counted).sum().item() / max(1, int(self.counted.sum()))
        return figures

    def figures_by_class(self, classes: int) -> dict[str, Float64[Tensor, " class"]]:
        """The average precision of each class in two definitions; NaN for a class that no image shows."""
        found = average_precisions(self.logits, self.labels)
        pairs = [(each.all_points, each.eleven_points) if each else (torch.nan, torch.nan) for each in found]
        all_points, eleven_points = 100 * torch.tensor(pairs, dtype=torch.float64).T
        return {"ap_pct_by_class": all_points, "ap_11point_pct_by_class": eleven_points}
