"""Calibration errors, the area under the risk-coverage curve, errors by class and bootstrap intervals, as the field
defines them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

# error_pct by corruption and severity
CorruptionErrors = Mapping[str, Mapping[int, float]]

# Limits the memory of a bootstrap to 16 MB of indices and values at a time.
_DRAWS_AT_ONCE = 2**20


class Interval(NamedTuple):
    low: float
    high: float


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def rms_calibration_error_pct(
    confidence: Float[Tensor, " image"],
    correct: Bool[Tensor, " image"],
    *,
    images_per_bin: int = 100,
    last_bin: bool = True,
) -> float:
    """Root mean square, over the images, of the mean confidence minus the accuracy of their bin, in percent.

    `confidence` is the probability of the predicted class, in [0, 1]. Bins are adaptive: images in order of
    confidence, `images_per_bin` in each bin, the remainder in the last one; fewer images are a single bin.
    Source: AugMix (arXiv 1912.02781), with the bins of Nguyen and O'Connor 2015 (arXiv 1508.05154) and 100 images
    in a bin as in calib_err of github.com/hendrycks/outlier-exposure. That code leaves the most confident bin out
    of the sum (1 % of 10,000 images); here every image counts. Without `last_bin` the figure is that code's, with
    which published ones compare; it is 0 for fewer than two bins of images.
    """
    images = len(confidence)
    order = confidence.argsort(stable=True)
    gaps = (confidence.double() - correct.double())[order]
    full = max(images // images_per_bin - 1, 0)
    head, last = gaps[: full * images_per_bin], gaps[full * images_per_bin :]
    # A bin's weight times its squared mean gap is (sum of gaps)^2 / (images in the bin), over all images.
    squares = head.view(full, images_per_bin).sum(dim=1).square().sum() / images_per_bin
    if last_bin:
        squares = squares + last.sum().square() / len(last)
    return 100 * (squares / images).sqrt().item()


def expected_calibration_error_pct(
    confidence: Float[Tensor, " image"], correct: Bool[Tensor, " image"], *, bins: int = 15
) -> float:
    """Mean over the images of the absolute gap between mean confidence and accuracy of their bin, in percent.

    Bins have equal widths and hold their upper end: a confidence of 1 belongs to the last one.
    Source: Guo et al. 2017 (arXiv 1706.04599).
    """
    confidence = confidence.double()
    upper_ends = torch.arange(1, bins + 1, dtype=torch.float64, device=confidence.device) / bins
    bin_ids = torch.bucketize(confidence, upper_ends).clamp(max=bins - 1)  # rounding may exceed 1
    gaps = confidence.new_zeros(bins).index_add_(0, bin_ids, confidence - correct.double())
    return 100 * gaps.abs().sum().item() / len(confidence)


def area_under_risk_coverage(confidence: Float[Tensor, " image"], correct: Bool[Tensor, " image"]) -> float:
    """Mean over i of the share of errors among the i most confident images, in [0, 1]; AURRA is 1 minus it.

    Equal confidences rank in the order of the images.
    Source: Geifman and El-Yaniv 2017 (arXiv 1705.08500).
    """
    order = confidence.argsort(descending=True, stable=True)
    errors = (~correct[order]).cumsum(0).double()
    covered = torch.arange(1, len(errors) + 1, dtype=torch.float64, device=errors.device)
    return (errors / covered).mean().item()


def per_class_error_pct(
    wrong: Bool[Tensor, " image"], labels: Int64[Tensor, " image"], *, classes: int
) -> Float[Tensor, " class"]:
    """Share of each class's images that are misclassified, in percent; NaN for a class without images."""
    # Integers: their sums on a GPU are exact in any order. bincount would make the host wait.
    counts = labels.new_zeros(classes).index_add_(0, labels, torch.ones_like(labels))
    errors = labels.new_zeros(classes).index_add_(0, labels, wrong.long())
    return 100 * errors.double() / counts


def bootstrap_interval(
    values: Shaped[Tensor, "*cell image"],
    *,
    level: float = 0.95,
    resamples: int = 1000,
    generator: torch.Generator,
) -> Interval:
    """Percentile bootstrap interval of the mean over everything, in the unit of `values`.

    `values` has one row, or one row for each cell (such as 15 corruptions x 5 severities) of the same
    images. An image is resampled together with all its cells, because an image that is hard in one cell is
    hard in many. Computed on the device of `generator`, so that the interval does not depend on the device of
    `values`. It covers the spread over test images, not over training runs.
    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    images = values.shape[-1]
    # The mean of a resample is linear in its images: the cells can be averaged once, before the draws.
    by_image = values.reshape(-1, images).mean(dim=0, dtype=torch.float64).to(generator.device)
    at_once = max(_DRAWS_AT_ONCE // images, 1)
    means = []
    for start in range(0, resamples, at_once):
        shape = (min(at_once, resamples - start), images)
        drawn = torch.randint(images, shape, generator=generator, device=generator.device)
        means.append(by_image[drawn].mean(dim=1))
    tails = by_image.new_tensor([(1 - level) / 2, (1 + level) / 2])
    return Interval(*torch.cat(means).quantile(tails).tolist())
