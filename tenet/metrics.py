"""Figures of merit as the field defines them."""

from collections.abc import Mapping, Sequence

# error_pct by corruption and severity
CorruptionErrors = Mapping[str, Mapping[int, float]]


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
