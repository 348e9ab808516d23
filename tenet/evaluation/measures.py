"""Predictions for a set of images, and the figures of one set or of several that an evaluation reports."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor
from torch.nn import functional as F

from tenet.evaluation.metrics import (
    area_under_risk_coverage,
    bootstrap_interval,
    expected_calibration_error_pct,
    mean,
    per_class_error_pct,
    rms_calibration_error_pct,
)
from tenet.evaluation.multi_label import MultiLabelPredictions
from tenet.randomness import make_generator


class Predictions(NamedTuple):
    """By image, on the host. confidence: probability of the predicted class. nll: of the true class, in nats.

    brier: squared distance of the probabilities from those of certainty in the true class, in [0, 2].
    """

    predicted: Int64[Tensor, " image"]
    labels: Int64[Tensor, " image"]
    confidence: Float32[Tensor, " image"]
    nll: Float32[Tensor, " image"]
    brier: Float32[Tensor, " image"]

    @classmethod
    def pack(
        cls, logits: Float[Tensor, "image class"], labels: Int64[Tensor, " image"]
    ) -> Float32[Tensor, "image field"]:
        """Everything about one batch in one tensor on its device, which is copied to the host once."""
        log_probabilities = logits.log_softmax(dim=1)
        likelihood, predicted = log_probabilities.max(dim=1)
        true_likelihood = log_probabilities.gather(1, labels[:, None]).squeeze(1)
        certain = F.one_hot(labels, logits.shape[1])
        brier = (log_probabilities.exp() - certain).square().sum(dim=1)
        # Class numbers are exact in float32.
        fields = [predicted.float(), labels.float(), likelihood.exp(), -true_likelihood, brier]
        return torch.stack(fields, dim=1)

    @classmethod
    def unpack(cls, packed: Float32[Tensor, "image field"]) -> "Predictions":
        predicted, labels, *others = packed.T.contiguous()
        return cls(predicted.long(), labels.long(), *others)

    @property
    def wrong(self) -> Bool[Tensor, " image"]:
        return self.predicted != self.labels

    @property
    def errors(self) -> Float64[Tensor, " image"]:
        """By image, 1 where it is wrong; their mean is the error."""
        return self.wrong.double()

    @property
    def error_pct(self) -> float:
        return 100 * self.errors.mean().item()

    def training_figures(self) -> dict[str, float]:
        """What training reports after an epoch. loss: the mean negative log-likelihood, whatever the objective."""
        return {"error_pct": self.error_pct, "loss": self.mean_nll}

    @property
    def mean_nll(self) -> float:
        return self.nll.double().mean().item()

    def calibration(self) -> dict[str, float]:
        """What the probabilities are worth, by the field's definitions."""
        found = self.confidence, ~self.wrong
        return {
            "brier": self.brier.double().mean().item(),
            "ece_pct": expected_calibration_error_pct(*found),
            "rms_calibration_error_pct": rms_calibration_error_pct(*found),
            "rms_calibration_error_without_last_bin_pct": rms_calibration_error_pct(*found, last_bin=False),
            "aurc": area_under_risk_coverage(*found),
        }

    def figures(self, *, calibration: bool = True, likelihood: bool = True) -> dict[str, float]:
        """The chosen figures besides the error."""
        figures = {"nll": self.mean_nll} if likelihood else {}
        return figures | (self.calibration() if calibration else {})

    def error_pct_by_class(self, classes: int) -> Float[Tensor, " class"]:
        return per_class_error_pct(self.wrong, self.labels, classes=classes)

    def figures_by_class(self, classes: int) -> dict[str, Float[Tensor, " class"]]:
        """The error of each class; NaN for a class without images."""
        return {"error_pct_by_class": self.error_pct_by_class(classes)}


AnyPredictions = Predictions | MultiLabelPredictions
"""What a classifier predicts, by the labels of the images. Suites use the members that both have."""


def kind_of(labels: Tensor) -> type[AnyPredictions]:
    """labels: of some images, int64 [image] or int8 [image, class]."""
    return Predictions if labels.ndim == 1 else MultiLabelPredictions


@dataclass(frozen=True)
class Measures:
    """Which figures to report besides the errors: the keys `measures` of evaluate.py.

    classes: names, for the errors of each class. Multi-label images have no calibration figures.
    """

    classes: tuple[str, ...] = ()
    calibration: bool = True
    likelihood: bool = True
    per_class: bool = False
    intervals: bool = True

    def figures_of(self, predictions: AnyPredictions) -> dict[str, Any]:
        """Error, number of images, and the chosen figures of one set of images."""
        figures: dict[str, Any] = {"error_pct": predictions.error_pct, "images": len(predictions.labels)}
        if self.intervals:
            figures["interval_pct"] = self.interval_pct([predictions])
        return figures | self.means_of([predictions])

    def means_of(self, sets: Sequence[AnyPredictions]) -> dict[str, Any]:
        """Means over the sets of the chosen figures; no figures without sets."""
        if not sets:
            return {}
        parts = [each.figures(calibration=self.calibration, likelihood=self.likelihood) for each in sets]
        figures: dict[str, Any] = {name: mean([part[name] for part in parts]) for name in parts[0]}
        if self.per_class:
            by_class = [each.figures_by_class(len(self.classes)) for each in sets]
            for name in by_class[0]:
                values = torch.stack([part[name] for part in by_class]).nanmean(dim=0).tolist()
                # NaN: no image of this class.
                known = [None if math.isnan(value) else value for value in values]
                figures[name] = dict(zip(self.classes, known, strict=True))
        return figures

    def interval_pct(
        self, sets: Sequence[AnyPredictions], *, weights: Sequence[float] | None = None
    ) -> list[float] | None:
        """95 % bootstrap interval over images of the mean error; each set counts by its weight, 1 by default.

        None if intervals are off, or if the sets do not show the same images.
        """
        if not self.intervals or len({len(each.labels) for each in sets}) != 1:
            return None
        errors: Tensor = torch.stack([each.errors for each in sets]) * 100
        if weights is not None:
            errors *= torch.tensor(list(weights))[:, None]
        generator = make_generator("cpu", seed=0, purpose="bootstrap")
        return list(bootstrap_interval(errors, generator=generator))


def as_metrics(prefix: str, figures: Mapping[str, Any]) -> dict[str, float]:
    """The figures that are single numbers, by metric name."""
    return {f"{prefix}/{name}": value for name, value in figures.items() if isinstance(value, float)}


def describe(figures: Mapping[str, Any], of: str) -> str:
    """Such as `3.50 % [3.14, 3.87] of 360 images (NLL 0.231)`; brackets hold the 95 % interval. of: what it is of."""
    interval = figures.get("interval_pct")
    text = f"{figures['error_pct']:.2f} %" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")
    others = {
        "nll": "NLL {:.3f}",
        "brier": "Brier {:.3f}",
        "ece_pct": "ECE {:.2f} %",
        "rms_calibration_error_pct": "RMS calibration error {:.2f} %",
        "rms_calibration_error_without_last_bin_pct": "without its last bin {:.2f} %",
        "aurc": "AURC {:.4f}",
    }
    parts = [form.format(figures[name]) for name, form in others.items() if name in figures]
    return f"{text}{of}" + (f" ({', '.join(parts)})" if parts else "")


def describe_images(figures: Mapping[str, Any]) -> str:
    images = f" of {figures['images']:,} images"
    if "map_pct" not in figures:
        return "error " + describe(figures, images)
    return f"{describe_map(figures)}, wrong labels {describe(figures, images)}"


def describe_map(figures: Mapping[str, Any]) -> str:
    """Such as `mAP 82.30 % (11 points 81.12 %, step sum 82.01 %)`."""
    others = f"11 points {figures['map_11point_pct']:.2f} %, step sum {figures['map_step_sum_pct']:.2f} %"
    return f"mAP {figures['map_pct']:.2f} % ({others})"
