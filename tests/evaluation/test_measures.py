"""The figures of sets of predictions."""

import pytest
import torch

from tenet.evaluation.measures import Measures, Predictions, as_metrics, describe_images
from tests import golden
from tests.evaluation.predictions import IMAGES, make_predictions

CLASSES = ("even", "odd")
CALIBRATION = {
    "brier", "ece_pct", "rms_calibration_error_pct", "rms_calibration_error_without_last_bin_pct", "aurc",
}  # fmt: skip


def test_figures_are_those_that_were_asked_for():
    assert set(Measures(CLASSES).figures_of(make_predictions(4))) == {
        "error_pct", "images", "interval_pct", "nll", *CALIBRATION,
    }  # fmt: skip
    bare = Measures(CLASSES, calibration=False, likelihood=False, intervals=False)
    assert bare.figures_of(make_predictions(4)) == {"error_pct": pytest.approx(4), "images": IMAGES}
    assert bare.means_of([make_predictions(4)]) == {}
    assert Measures(CLASSES).means_of([]) == {}


def test_figures_of_logits_are_the_golden_ones():
    values = golden.load("metrics.npz")
    packed = Predictions.pack(values["calibration/logits"], values["calibration/labels"])
    figures = Predictions.unpack(packed).figures()
    assert figures["brier"] == pytest.approx(values["calibration/brier64"].item(), rel=1e-5)
    assert figures["nll"] == pytest.approx(values["calibration/negative_log_likelihood64"].item(), rel=1e-5)
    assert figures["ece_pct"] == pytest.approx(100 * values["calibration/ece_15_64"].item(), rel=1e-5)


def test_means_are_over_the_sets():
    sets = [make_predictions(10), make_predictions(20, seed=1)]
    means = Measures(CLASSES, per_class=True).means_of(sets)
    assert means["nll"] == pytest.approx(0.5)
    errors = [each.error_pct_by_class(2)[1].item() for each in sets]
    assert means["error_pct_by_class"]["odd"] == pytest.approx(sum(errors) / 2)


def test_a_class_without_images_has_no_error():
    lonely = make_predictions(4)._replace(labels=torch.zeros(IMAGES, dtype=torch.int64))
    figures = Measures(CLASSES, per_class=True).figures_of(lonely)
    assert figures["error_pct_by_class"]["odd"] is None


def test_intervals_resample_images_jointly_over_the_sets():
    measures, once = Measures(CLASSES), make_predictions(20)
    # The same images wrong in every set: the mean over sets is as uncertain as one set.
    alone = measures.interval_pct([once])
    assert alone[0] < 20 < alone[1]
    assert measures.interval_pct([once] * 15) == pytest.approx(alone)
    assert measures.interval_pct([once], weights=[2.0]) == pytest.approx([2 * bound for bound in alone])
    assert Measures(intervals=False).interval_pct([once]) is None
    shorter = type(once)(*(tensor[:100] for tensor in once))
    assert measures.interval_pct([once, shorter]) is None, "not the same images"


def test_metrics_are_single_numbers():
    figures = Measures(CLASSES, per_class=True).figures_of(make_predictions(4))
    metrics = as_metrics("test", figures)
    assert set(metrics) == {"test/error_pct", "test/nll", *(f"test/{name}" for name in CALIBRATION)}
    assert all(type(value) is float for value in metrics.values())


def test_figures_are_described_with_interval_and_images():
    figures = {"error_pct": 3.5, "interval_pct": [3.14, 3.87], "images": 10_000, "nll": 0.1234}
    assert describe_images(figures) == "error 3.50 % [3.14, 3.87] of 10,000 images (NLL 0.123)"
    assert describe_images({"error_pct": 3.5, "images": 10}) == "error 3.50 % of 10 images"
    figures = {"error_pct": 3.5, "images": 10, "brier": 0.25, "ece_pct": 2.0, "aurc": 0.125}
    assert describe_images(figures).endswith("(Brier 0.250, ECE 2.00 %, AURC 0.1250)")
