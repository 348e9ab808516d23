"""What a classifier said of a set of images, and the figures that follow from it."""

from typing import NamedTuple

from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from tenet.evaluation.metrics import per_class_error_pct, rms_calibration_error_pct


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
