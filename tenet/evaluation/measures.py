"""Predictions for a set of images, and the figures of one set or of several that an evaluation reports."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from tenet.evaluation.metrics import (
    bootstrap_interval,
    mean,
    per_class_error_pct,
    rms_calibration_error_pct,
)
from tenet.randomness import make_generator


class Predictions(NamedTuple):
    """By image, on the host. confidence: probability of the predicted class. nll: of the true class, in nats."""

    predicted: Int64[Tensor, " image"]
    labels: Int64[Tensor, " image"]
    confidence: Float32[Tensor, " image"]
    nll: Float32[Tensor, " image"]

    @property
    def wrong(self) -> Bool[Tensor, " image"]:
        return self.predicted != self.labels

    @property
    def error_pct(self) -> float:
        return 100 * self.wrong.double().mean().item()

    @property
    def mean_nll(self) -> float:
        return self.nll.double().mean().item()

    @property
    def rms_calibration_error_pct(self) -> float:
        return rms_calibration_error_pct(self.confidence, ~self.wrong)

    def error_pct_by_class(self, classes: int) -> Float[Tensor, " class"]:
        return per_class_error_pct(self.wrong, self.labels, classes=classes)


@dataclass(frozen=True)
class Measures:
    """Which figures to report besides the errors: the keys `measures` of evaluate.py.

    classes: names, for the errors of each class.
    """

    classes: tuple[str, ...] = ()
    calibration: bool = True
    likelihood: bool = True
    per_class: bool = False
    intervals: bool = True

    def figures_of(self, predictions: Predictions) -> dict[str, Any]:
        """Error, number of images, and the chosen figures of one set of images."""
        figures: dict[str, Any] = {"error_pct": predictions.error_pct, "images": len(predictions.labels)}
        if self.intervals:
            figures["interval_pct"] = self.interval_pct([predictions])
        return figures | self.means_of([predictions])

    def means_of(self, sets: Sequence[Predictions]) -> dict[str, Any]:
        """Means over the sets of the chosen figures; no figures without sets."""
        figures: dict[str, Any] = {}
        if sets and self.likelihood:
            figures["nll"] = mean([each.mean_nll for each in sets])
        if sets and self.calibration:
            figures["rms_calibration_error_pct"] = mean([each.rms_calibration_error_pct for each in sets])
        if sets and self.per_class:
            by_class = [each.error_pct_by_class(len(self.classes)) for each in sets]
            errors = torch.stack(by_class).nanmean(dim=0).tolist()
            # NaN: no image of this class.
            known = [None if math.isnan(error) else error for error in errors]
            figures["error_pct_by_class"] = dict(zip(self.classes, known, strict=True))
        return figures

    def interval_pct(
        self, sets: Sequence[Predictions], *, weights: Sequence[float] | None = None
    ) -> list[float] | None:
        """95 % bootstrap interval over images of the mean error; each set counts by its weight, 1 by default.

        None if intervals are off, or if the sets do not show the same images.
        """
        if not self.intervals or len({len(each.labels) for each in sets}) != 1:
            return None
        wrong: Tensor = torch.stack([each.wrong for each in sets]).double() * 100
        if weights is not None:
            wrong *= torch.tensor(list(weights))[:, None]
        generator = make_generator("cpu", seed=0, purpose="bootstrap")
        return list(bootstrap_interval(wrong, generator=generator))


def as_metrics(prefix: str, figures: Mapping[str, Any]) -> dict[str, float]:
    """The figures that are single numbers, by metric name."""
    return {f"{prefix}/{name}": value for name, value in figures.items() if isinstance(value, float)}


def describe(figures: Mapping[str, Any], of: str) -> str:
    """Such as `3.50 % [3.14, 3.87] of 360 images (NLL 0.231)`; brackets hold the 95 % interval. of: what it is of."""
    interval = figures.get("interval_pct")
    text = f"{figures['error_pct']:.2f} %" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")
    others = {"nll": "NLL {:.3f}", "rms_calibration_error_pct": "RMS calibration error {:.2f} %"}
    parts = [form.format(figures[name]) for name, form in others.items() if name in figures]
    return f"{text}{of}" + (f" ({', '.join(parts)})" if parts else "")


def describe_images(figures: Mapping[str, Any]) -> str:
    return "error " + describe(figures, f" of {figures['images']:,} images")
