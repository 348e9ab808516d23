"""The mCE of CIFAR-C and of ImageNet-C, against cases computed by hand and published figures."""

import pytest

from tenet.corruptions import CORRUPTIONS
from tenet.evaluation.mce import ALEXNET_ERRORS, mean_corruption_error_pct, missing_corruptions

# In percent, severities 1 to 5, as the authors give them in issue 10 of github.com/hendrycks/robustness.
ALEXNET_BY_SEVERITY = {
    "gaussian_noise": (69.528, 82.542, 93.554, 98.138, 99.452),
    "shot_noise": (71.224, 85.108, 93.574, 98.182, 99.146),
    "impulse_noise": (78.374, 89.808, 94.870, 98.720, 99.548),
    "defocus_blur": (65.624, 73.202, 85.036, 91.364, 94.714),
    "glass_blur": (64.308, 75.054, 88.806, 91.622, 93.344),
    "motion_blur": (58.430, 70.048, 82.108, 89.750, 92.638),
    "zoom_blur": (70.008, 76.992, 80.784, 84.198, 87.198),
    "snow": (71.726, 88.392, 86.468, 91.870, 94.952),
    "frost": (61.390, 79.734, 88.790, 89.942, 93.430),
    "fog": (67.474, 76.050, 84.378, 87.260, 94.500),
    "brightness": (45.140, 48.502, 54.048, 62.166, 72.440),
    "contrast": (64.548, 76.150, 88.874, 97.760, 99.270),
    "elastic_transform": (52.596, 70.116, 55.686, 64.076, 80.554),
    "pixelate": (52.218, 54.620, 73.728, 87.092, 91.262),
    "jpeg_compression": (51.002, 54.718, 57.294, 65.458, 74.778),
}


def same_at_all_severities(errors: dict[str, float]) -> dict[str, dict[int, float]]:
    return {name: dict.fromkeys((1, 2, 3, 4, 5), error) for name, error in errors.items()}


def test_alexnet_has_an_error_for_each_of_the_15_in_their_order():
    assert tuple(ALEXNET_ERRORS) == CORRUPTIONS


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_alexnets_errors_are_the_means_of_the_published_errors_by_severity(corruption):
    by_severity = ALEXNET_BY_SEVERITY[corruption]
    assert sum(by_severity) / 5 == pytest.approx(ALEXNET_ERRORS[corruption], abs=1e-9)


def test_alexnet_itself_has_100():
    errors = {name: dict(enumerate(row, start=1)) for name, row in ALEXNET_BY_SEVERITY.items()}
    assert mean_corruption_error_pct(errors, relative_to_alexnet=True) == pytest.approx(100)


def test_a_corruption_counts_by_its_sum_relative_to_alexnets():
    errors = same_at_all_severities(dict.fromkeys(CORRUPTIONS, 0.0))
    # Half of AlexNet's sum of 5 * 60.65 for one of the 15, in unequal parts; the others are perfect.
    errors["jpeg_compression"] = {1: 0.0, 2: 0.0, 3: 51.625, 4: 0.0, 5: 100.0}
    assert mean_corruption_error_pct(errors, relative_to_alexnet=True) == pytest.approx(50 / 15)
    # The same error on an easier corruption weighs more: 100 * 56.4592 / 92.264 = 61.193 a fifteenth.
    errors = same_at_all_severities({**dict.fromkeys(CORRUPTIONS, 0.0), "impulse_noise": 56.4592})
    assert mean_corruption_error_pct(errors, relative_to_alexnet=True) == pytest.approx(
        61.1931 / 15, abs=1e-5
    )


def test_corruptions_outside_the_15_do_not_count():
    errors = same_at_all_severities({**ALEXNET_ERRORS, "saturate": 0.0})
    assert mean_corruption_error_pct(errors, relative_to_alexnet=True) == pytest.approx(100)


def test_the_mce_of_cifar_c_is_the_mean_over_corruptions_of_the_means_over_severities():
    errors = same_at_all_severities(dict.fromkeys(CORRUPTIONS, 10.0))
    errors["fog"] = {1: 10.0, 2: 20.0, 3: 30.0, 4: 40.0, 5: 50.0}
    assert mean_corruption_error_pct({**errors, "spatter": {1: 99.0}}) == pytest.approx((14 * 10 + 30) / 15)


@pytest.mark.parametrize("relative", [False, True])
def test_without_all_75_cells_there_is_no_mce(relative):
    errors = same_at_all_severities(ALEXNET_ERRORS)
    assert missing_corruptions(errors) == []
    del errors["snow"][4]
    assert mean_corruption_error_pct(errors, relative_to_alexnet=relative) is None
    del errors["glass_blur"]
    assert missing_corruptions(errors) == ["glass_blur", "snow"]
    assert mean_corruption_error_pct({}, relative_to_alexnet=relative) is None
