"""Figures of merit as the field defines them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

# error_pct by corruption and severity
CorruptionErrors = Mapping[str, Mapping[int, float]]

# Bounds the memory of a bootstrap: 16 MB of indices and values at a time.
_DRAWS_AT_ONCE = 2**20


class Interval(NamedTuple):
    low: float
    high: float


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def mean_corruption_error(errors: CorruptionErrors, corruptions: Sequence[str]) -> float | None:
    """Mean over `corruptions` of the mean over severities, in percent; None if one of them was not measured.

    Of the 15 corruptions and 5 severities, the mCE of CIFAR-C as Hendrycks et al. 2020 report it
    (arXiv 1912.02781): not normalised by another network's errors, as it is on ImageNet-C.
    """
    if not corruptions or any(name not in errors for name in corruptions):
        return None
    return mean([mean(list(errors[name].values())) for name in corruptions])


def rms_calibration_error_pct(
    confidence: Float[Tensor, " image"], correct: Bool[Tensor, " image"], *, images_per_bin: int = 100
) -> float:
    """Root mean square, over the images, of their bin's mean confidence minus its accuracy, in percent.

    `confidence` is the probability of the predicted class, in [0, 1]. Adaptive bins: the images in
    order of confidence, `images_per_bin` to a bin, the remainder in the last one; fewer than that are
    one bin. Raises ValueError without images or for images_per_bin < 1.
    Source: AugMix (arXiv 1912.02781), bins of Nguyen and O'Connor 2015 (arXiv 1508.05154), of 100 as
    in calib_err of github.com/hendrycks/outlier-exposure. That code leaves the most confident bin out
    of the sum (1 % of 10,000 images); here every image counts.
    """
    images = _count_images(confidence)
    if images_per_bin < 1:
        raise ValueError(f"images_per_bin={images_per_bin} must be at least 1")
    order = confidence.argsort(stable=True)
    gaps = (confidence.double() - correct.double())[order]
    full = max(images // images_per_bin - 1, 0)
    head, last = gaps[: full * images_per_bin], gaps[full * images_per_bin :]
    # A bin's weight times its squared mean gap is (sum of gaps)^2 / (images in the bin), over all images.
    squares = head.view(full, images_per_bin).sum(dim=1).square().sum() / images_per_bin
    squares = squares + last.sum().square() / len(last)
    return 100 * (squares / images).sqrt().item()


def per_class_error_pct(
    wrong: Bool[Tensor, " image"], labels: Int64[Tensor, " image"], *, classes: int
) -> Float[Tensor, " class"]:
    """Share of each class's images that are misclassified, in percent; NaN for a class without images."""
    # Integers: sums on a GPU are then exact whatever their order. bincount would make the host wait.
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

    `values` has one row, or one for each cell (such as 15 corruptions x 5 severities) of the same
    images: the images are resampled, each with all its cells, since what a model finds hard it finds
    hard in many cells. Computed on the device of `generator`, so the interval does not depend on
    where `values` lie. It holds the spread over test images, not that over training runs.
    Raises ValueError without images, or for a level outside (0, 1) or resamples < 1.
    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    images = _count_images(values)
    if not 0 < level < 1:
        raise ValueError(f"level={level} must be more than 0 and less than 1, such as 0.95")
    if resamples < 1:
        raise ValueError(f"resamples={resamples} must be at least 1")
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


def _count_images(values: Shaped[Tensor, "*cell image"]) -> int:
    if values.numel() == 0:
        raise ValueError(f"values of shape {list(values.shape)} hold no images; at least one is needed")
    return values.shape[-1]
