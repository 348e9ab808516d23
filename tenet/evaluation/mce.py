"""The mean corruption error: the plain one of CIFAR-C, and ImageNet-C's, which is relative to AlexNet's errors."""

from tenet.corruptions.names import CORRUPTIONS, SEVERITIES
from tenet.evaluation.metrics import CorruptionErrors, mean

ALEXNET_ERRORS = {
    "gaussian_noise": 88.6428,
    "shot_noise": 89.4468,
    "impulse_noise": 92.264,
    "defocus_blur": 81.988,
    "glass_blur": 82.6268,
    "motion_blur": 78.5948,
    "zoom_blur": 79.836,
    "snow": 86.6816,
    "frost": 82.6572,
    "fog": 81.9324,
    "brightness": 56.4592,
    "contrast": 85.3204,
    "elastic_transform": 64.6056,
    "pixelate": 71.784,
    "jpeg_compression": 60.65,
}
"""AlexNet's top-1 errors on ImageNet-C in percent, each the mean over the five severities.

Source: Hendrycks and Dietterich, ICLR 2019; by severity in issue 10 of github.com/hendrycks/robustness,
whose means these are, and as `ALEXNET_ERR` in imagenet.py of github.com/google-research/augmix.
"""


def missing_corruptions(errors: CorruptionErrors) -> list[str]:
    """Those of the 15 that were not measured at all five severities."""
    return [name for name in CORRUPTIONS if not set(SEVERITIES) <= set(errors.get(name, ()))]


def mean_corruption_error_pct(errors: CorruptionErrors, *, relative_to_alexnet: bool = False) -> float | None:
    """Mean over the 15 corruptions of the mean error over severities; None unless all 75 cells were measured.

    errors: in percent. Corruptions outside the 15 don't count. CIFAR-C's mCE is this plain mean, as Hendrycks et al.
    2020 report it (arXiv 1912.02781). On ImageNet-C, `relative_to_alexnet`, each corruption counts by its summed
    error in percent of AlexNet's sum, so that none outweighs the others; AlexNet itself has 100.
    """
    if missing_corruptions(errors):
        return None
    if not relative_to_alexnet:
        return mean([mean([errors[name][severity] for severity in SEVERITIES]) for name in CORRUPTIONS])
    sums = {name: sum(errors[name][severity] for severity in SEVERITIES) for name in CORRUPTIONS}
    return mean([100 * sums[name] / (len(SEVERITIES) * ALEXNET_ERRORS[name]) for name in CORRUPTIONS])
