"""The one loop, and a suite that it has never seen."""

import json
import logging

import pytest
import torch
from torch import nn

from tenet.data import ImageArrays
from tenet.errors import ConfigError
from tenet.evaluation.cache import PredictionCache
from tenet.evaluation.classifier import Classifier
from tenet.evaluation.loop import predict_suites
from tenet.evaluation.report import combine, print_report, write_figures
from tenet.evaluation.suites.suite import Cell, Suite, Summary
from tenet.networks import Network

CLASSES = tuple("abcde")


class Mirrored(Suite):
    """A new benchmark: the share of images whose predicted class changes when they are mirrored."""

    name = "mirrored"

    def __init__(self, images):
        self.images, self.opened = images, []

    def cells(self):
        for name, images in {"upright": self.images, "mirrored": self.images.flip(2)}.items():
            self.opened.append(name)
            yield Cell(f"mirror/{name}", ImageArrays(images, torch.arange(len(images)) % 5, CLASSES))

    def __len__(self):
        return 2

    def summarize(self, predictions):
        upright, mirrored = (predictions[f"mirror/{name}"].predicted for name in ("upright", "mirrored"))
        flip_pct = 100 * (upright != mirrored).double().mean().item()
        return Summary(
            content={"mirror": {"flip_pct": flip_pct}},
            metrics={"mirror/flip_pct": flip_pct},
            lines=[f"mirrored images flip {flip_pct:.2f} %"],
        )


@pytest.fixture
def suite():
    generator = torch.Generator().manual_seed(0)
    return Mirrored(torch.randint(256, (10, 8, 8, 3), dtype=torch.uint8, generator=generator))


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return Classifier(Network(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))), batch_size=4)


def test_a_new_suite_needs_its_class_alone(suite, classifier, tmp_path, capsys):
    cache = PredictionCache(tmp_path / "cells", identity={suite.name: suite.identity()})
    predictions = predict_suites([suite], classifier, cache)
    report = combine({}, [suite.summarize(predictions)])
    print_report(report)
    write_figures(report, tmp_path / "report.json")
    expected = [classifier.predict(cell.source).predicted for cell in suite.cells()]
    flip_pct = 100 * (expected[0] != expected[1]).double().mean().item()
    assert flip_pct > 0
    assert json.loads((tmp_path / "report.json").read_text()) == {
        "mirror": {"flip_pct": flip_pct},
        "documents": [],
    }
    assert report.metrics == {"mirror/flip_pct": flip_pct}
    assert f"mirrored images flip {flip_pct:.2f} %" in capsys.readouterr().out


def test_an_interrupted_loop_predicts_only_the_cells_that_are_missing(
    suite, classifier, tmp_path, caplog, monkeypatch
):
    whole = predict_suites([suite], classifier, PredictionCache(tmp_path / "a", identity={"w": 1}))
    cache = PredictionCache(tmp_path / "b", identity={"w": 1})
    cache.save("mirror/upright", whole["mirror/upright"])
    again = PredictionCache(tmp_path / "b", identity={"w": 1})
    measured = []
    predict = Classifier.predict
    monkeypatch.setattr(
        Classifier, "predict", lambda self, source: measured.append(1) or predict(self, source)
    )
    with caplog.at_level(logging.INFO, logger="tenet"):
        resumed = predict_suites([suite], classifier, again)
    assert "continuing an interrupted evaluation: 1 sets of images are already measured" in caplog.text
    assert len(measured) == 1
    assert list(resumed) == list(whole) == ["mirror/upright", "mirror/mirrored"]
    for name in whole:
        assert all(torch.equal(a, b) for a, b in zip(whole[name], resumed[name], strict=True))


def test_two_cells_of_one_name_are_refused(suite, classifier, tmp_path):
    other = Mirrored(suite.images + 1)
    other.name = "other"
    with pytest.raises(
        ConfigError, match=r"^suite other: its cell mirror/upright has the name of another cell"
    ):
        predict_suites([suite, other], classifier, PredictionCache(tmp_path / "cells", identity={}))


def test_the_identity_of_a_suite_follows_from_its_images(suite):
    before = suite.identity()
    assert set(before) == {"mirror/upright", "mirror/mirrored"}
    assert Mirrored(suite.images).identity() == before
    assert Mirrored(suite.images + 1).identity() != before
