"""Average precision of one class, in the definitions that Pascal VOC and the field's libraries use."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int8, Shaped
from torch import Tensor

from tenet.methods.labels import NOT_COUNTED, PRESENT


class AveragePrecision(NamedTuple):
    """In [0, 1]; see `average_precision`. Of several classes, the mean over them."""

    all_points: float
    eleven_points: float
    step_sum: float


def average_precision(
    scores: Float[Tensor, " image"], labels: Int8[Tensor, " image"]
) -> AveragePrecision | None:
    """How well the scores rank the images that show a class above the others; None if no image shows it.

    labels: 1 present, 0 absent; images with -1 are left out. Precision and recall are those among the images down to each
    one, in order of falling scores; the computation is in float64.
    all_points: the area under the precision made non-increasing. VOC2010 to VOC2012.
    eleven_points: the mean over the recalls 0, 0.1, ..., 1 of the highest precision at that recall or a higher one. VOC2007.
    step_sum: the sum of precision times the gain in recall, with equal scores taken together, as in scikit-learn. The
        other two order equal scores as the images are, which the development kits do too.
    Source: Everingham et al. 2010, The Pascal Visual Object Classes (VOC) Challenge, and the kits of VOC2007 and VOC2012.
    """
    counted = labels != NOT_COUNTED
    order = scores[counted].argsort(descending=True, stable=True)
    ranked, hits = scores[counted][order], labels[counted][order] == PRESENT
    found = hits.cumsum(0)
    positives = int(hits.sum())
    if positives == 0:
        return None
    precision = found.double() / torch.arange(1, len(found) + 1)
    # The highest precision at each place or a later one.
    envelope = precision.flip(0).cummax(0).values.flip(0)
    recall = found.double() / positives
    # In floating point, where 3 of 5 falls short of 6 * 0.1: so do the Python ports of the kit (voc_eval).
    reached = torch.searchsorted(recall, 0.1 * torch.arange(11, dtype=torch.float64))
    return AveragePrecision(
        all_points=(envelope * hits).sum().item() / positives,
        eleven_points=envelope[reached].mean().item(),
        step_sum=_step_sum(precision, found, is_last=_is_last_of_equal(ranked)) / positives,
    )


def _is_last_of_equal(ranked: Float[Tensor, " image"]) -> Shaped[Tensor, " image"]:
    return torch.cat([ranked[1:] != ranked[:-1], torch.ones(1, dtype=torch.bool)])


def _step_sum(precision: Tensor, found: Tensor, *, is_last: Tensor) -> float:
    ends = found[is_last]
    gains = torch.diff(ends, prepend=ends.new_zeros(1))
    return (precision[is_last] * gains).sum().item()


def average_precisions(
    scores: Float[Tensor, "image class"], labels: Int8[Tensor, "image class"]
) -> list[AveragePrecision | None]:
    """By class; None for a class that no image shows."""
    return [average_precision(*pair) for pair in zip(scores.T, labels.T, strict=True)]


def mean_average_precision(by_class: list[AveragePrecision | None]) -> AveragePrecision | None:
    """The mean over the classes that some image shows; None if there are none."""
    known = [each for each in by_class if each is not None]
    return AveragePrecision(*(sum(part) / len(known) for part in zip(*known, strict=True))) if known else None
