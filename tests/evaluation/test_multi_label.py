"""Average precision, and the predictions of images that show several classes."""

import numpy as np
import pytest
import torch

from tenet.data import ImageArrays
from tenet.evaluation.average_precision import average_precision, average_precisions, mean_average_precision
from tenet.evaluation.cache import PredictionCache
from tenet.evaluation.classifier import Classifier
from tenet.evaluation.measures import Measures, describe_images
from tenet.evaluation.multi_label import MultiLabelPredictions
from tenet.networks import Network
from tests import golden

# In the golden file's order.
DEFINITIONS = {"eleven_points": "11_point", "all_points": "all_points", "step_sum": "step_sum"}


@pytest.fixture(scope="module")
def values():
    """In the golden file, as in Pascal VOC's lists, -1 is absent and 0 not counted."""
    found = {
        name: value for name, value in golden.load("metrics.npz").items() if name.startswith("multilabel/")
    }
    flags = found["multilabel/labels"]
    found["labels"] = torch.where(flags == 0, -1, (flags == 1).long()).to(torch.int8)
    return found


def test_average_precision_is_the_golden_one_in_all_definitions(values):
    found = average_precisions(values["multilabel/scores"], values["labels"])
    mean = mean_average_precision(found)
    for index, (ours, name) in enumerate(DEFINITIONS.items()):
        own = torch.tensor([getattr(each, ours) for each in found], dtype=torch.float64)
        torch.testing.assert_close(own, values[f"multilabel/ap_{name}64"], rtol=0, atol=1e-9)
        assert getattr(mean, ours) == pytest.approx(values["multilabel/map64"][index].item(), abs=1e-9)


def test_of_equal_scores_the_step_sum_alone_does_not_depend_on_their_order(values):
    scores, labels = values["multilabel/tied_scores"], values["labels"][:, 0].contiguous()
    found = average_precision(scores, labels)
    own = torch.tensor([getattr(found, ours) for ours in DEFINITIONS], dtype=torch.float64)
    torch.testing.assert_close(own, values["multilabel/tied_ap64"], rtol=0, atol=1e-9)
    turned = average_precision(scores.flip(0), labels.flip(0))
    assert turned.step_sum == pytest.approx(found.step_sum, abs=1e-12)
    assert turned.all_points != pytest.approx(found.all_points, abs=1e-3)


def test_average_precision_by_hand():
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])
    labels = torch.tensor([1, 0, -1, 1, 0], dtype=torch.int8)  # the third is left out
    # Precision 1 at recall 1/2, then 2/3 at recall 1: recalls 0 to 0.5 take 1, the other five 2/3.
    found = average_precision(scores, labels)
    assert found.all_points == found.step_sum == pytest.approx((1 + 2 / 3) / 2)
    assert found.eleven_points == pytest.approx((6 + 5 * 2 / 3) / 11)


def make_predictions():
    logits = torch.tensor([[2.0, -1.0, 0.5], [-2.0, 1.0, 3.0], [0.1, -0.3, -1.0], [-1.0, 2.0, 1.0]])
    labels = torch.tensor([[1, 0, -1], [0, 0, -1], [1, 1, 0], [0, 1, 0]], dtype=torch.int8)
    return MultiLabelPredictions(logits, labels)


def test_a_class_that_no_image_shows_is_left_out_of_the_mean_and_has_no_average_precision():
    found = make_predictions()
    figures = Measures(("cat", "dog", "cow"), per_class=True).figures_of(found)
    assert figures["ap_pct_by_class"] == {
        "cat": 100,
        "dog": pytest.approx(100 * (1 + 2 / 3) / 2),
        "cow": None,
    }
    assert figures["map_pct"] == pytest.approx(50 * (1 + (1 + 2 / 3) / 2))
    nothing = found._replace(labels=torch.zeros_like(found.labels))
    assert set(nothing.figures()) == {"nll"}
    assert set(nothing.training_figures()) == {"error_pct", "loss"}


def test_the_error_is_the_share_of_wrong_labels_that_count_and_has_an_interval():
    found = make_predictions()  # wrong: [1, 1], [2, 1] and [3, 2], of 10
    figures = Measures(("cat", "dog", "cow")).figures_of(found)
    assert figures["error_pct"] == pytest.approx(30)
    assert figures["interval_pct"][0] < 30 < figures["interval_pct"][1]
    assert "rms_calibration_error_pct" not in figures
    known = found.labels >= 0
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        found.logits[known], found.labels[known].float()
    )
    assert figures["nll"] == pytest.approx(losses.item())
    words = describe_images({**figures, "interval_pct": [10.0, 50.0], "nll": 0.5, "map_pct": 91.666})
    assert words.startswith("mAP 91.67 % (11 points ")
    assert words.endswith("), wrong labels 30.00 % [10.00, 50.00] of 4 images (NLL 0.500)")


def test_predictions_of_a_source_come_back_from_the_cache(tmp_path):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (7, 4, 4, 3), generator=generator, dtype=torch.uint8)
    labels = torch.randint(-1, 2, (7, 3), generator=generator).to(torch.int8)
    torch.manual_seed(0)
    backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3))
    found = Classifier(Network(backbone), batch_size=3).predict(ImageArrays(images, labels, ("a", "b", "c")))
    assert torch.equal(found.labels, labels)
    torch.testing.assert_close(
        found.logits, backbone(images.permute(0, 3, 1, 2).float() / 127.5 - 1).detach()
    )
    cache = PredictionCache(tmp_path / "cells", identity={})
    cache.save("clean", found)
    again = cache.load("clean")
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))
    np.savez(tmp_path / "cells" / "clean.npz", logits=found.logits[:3], labels=labels)
    assert cache.load("clean") is None, "damaged"
    cache.close(keep=False)
