"""The mCE of ImageNet-C: each corruption's error over AlexNet's, so that none outweighs the others."""

from collections.abc import Mapping

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


def normalised_mce(errors: CorruptionErrors) -> float:
    """The mean over the 15 corruptions of 100 * (the error's sum over severities) / (AlexNet's).

    `errors` are in percent, by corruption and severity; corruptions outside the 15 don't count.
    AlexNet itself has 100. Raises ValueError naming the first of the 75 cells that is missing.
    """
    for corruption in CORRUPTIONS:
        for severity in SEVERITIES:
            if severity not in errors.get(corruption, {}):
                raise ValueError(
                    f"{corruption} at severity {severity} was not measured; the mCE needs all 15 corruptions "
                    "at all five severities"
                )
    return mean([corruption_error(errors[name], corruption=name) for name in CORRUPTIONS])


def corruption_error(by_severity: Mapping[int, float], *, corruption: str) -> float:
    """The error's sum over severities, in percent of AlexNet's sum."""
    total = sum(by_severity[severity] for severity in SEVERITIES)
    return 100 * total / (len(SEVERITIES) * ALEXNET_ERRORS[corruption])
