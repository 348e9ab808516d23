"""Predictions of a classifier, the sweep, and the cells that an interrupted one leaves."""

import logging
import subprocess
import sys

import pytest
import torch
from torch import nn

from tenet.corruptions import corrupt
from tenet.corruptions.sources import GeneratedCorruptions
from tenet.data import Normalization
from tenet.errors import ConfigError, NonFiniteOutputError
from tenet.evaluation.cache import PredictionCache
from tenet.evaluation.classifier import Classifier, sweep
from tenet.networks import ResNet


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return Classifier(ResNet(num_classes=5, depth=8, width=4).train(), Normalization(), batch_size=4)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (10, 16, 16, 3), dtype=torch.uint8, generator=generator), torch.arange(10) % 5


def test_predictions_are_those_of_the_model_in_eval_mode(classifier, images):
    said = classifier.predict([images])
    assert classifier.model.training, "the mode is put back"
    model = classifier.model.eval()
    with torch.no_grad():
        probabilities = model((images[0].permute(0, 3, 1, 2) / 255 - 0.5) / 0.5).softmax(dim=1)
    confidence, predicted = probabilities.max(dim=1)
    assert torch.equal(said.predicted, predicted)
    assert torch.equal(said.labels, images[1])
    torch.testing.assert_close(said.confidence, confidence)
    torch.testing.assert_close(said.nll, -probabilities[torch.arange(10), images[1]].log())
    assert said.error_pct == pytest.approx(100 * (predicted != images[1]).double().mean().item())
    assert said.mean_nll == pytest.approx(said.nll.mean().item())


def test_evaluation_moves_no_batch_statistics(classifier, images):
    before = {name: value.clone() for name, value in classifier.model.state_dict().items()}
    classifier.predict([images])
    assert all(torch.equal(value, before[name]) for name, value in classifier.model.state_dict().items())


def test_the_error_does_not_depend_on_the_batch_size(classifier, images):
    whole = classifier.predict([images])
    parts = classifier.predict(zip(images[0].split(3), images[1].split(3), strict=True))
    assert torch.equal(whole.predicted, parts.predicted)
    assert classifier.error_pct(*images) == whole.error_pct


def test_no_images_are_refused(classifier):
    with pytest.raises(ValueError, match="no images"):
        classifier.predict([])


def test_bf16_and_channels_last_predict_nearly_the_same(classifier, images):
    other = Classifier(classifier.model, classifier.normalize, precision="bf16", channels_last=True)
    torch.testing.assert_close(
        other.predict([images]).nll, classifier.predict([images]).nll, rtol=0.05, atol=0.05
    )


def test_generated_cells_are_the_generator_s_pixels_in_any_batch(images):
    source = GeneratedCorruptions(*images, seed=3)
    batches = list(source.batches("impulse_noise", 4, batch_size=3))
    assert [len(labels) for _, labels in batches] == [3, 3, 3, 1]
    whole = corrupt(images[0], corruption="impulse_noise", severity=4, seed=3)
    assert torch.equal(torch.cat([part for part, _ in batches]), whole)


class CountingSource:
    kind = "generated"
    names = ("fog", "snow")

    def __init__(self, images):
        self.images, self.asked = images, []

    def batches(self, corruption, severity, *, batch_size):
        self.asked.append((corruption, severity))
        yield self.images


def test_the_sweep_yields_every_cell_in_order_and_measures_each_once(classifier, images, tmp_path):
    source = CountingSource(images)
    asked = {"corruptions": ["snow", "fog"], "severities": [1, 3]}
    expected = [("snow", 1), ("snow", 3), ("fog", 1), ("fog", 3)]
    store = PredictionCache(tmp_path / "cells", identity={"weights": "a"})
    sweeping = sweep(classifier, source, **asked, store=store)
    first = [next(sweeping), next(sweeping)]
    # Interrupted here; a second sweep measures the rest alone and yields the same.
    store = PredictionCache(tmp_path / "cells", identity={"weights": "a"})
    assert store.found == 2
    cells = list(sweep(classifier, source, **asked, store=store))
    assert [(cell.corruption, cell.severity) for cell in cells] == expected == source.asked
    for kept, again in zip(first, cells, strict=False):
        assert all(torch.equal(a, b) for a, b in zip(kept.predictions, again.predictions, strict=True))


def test_cells_of_other_weights_or_data_are_thrown_away_saying_what_changed(
    classifier, images, tmp_path, caplog
):
    identity = {"weights": "a", "images": {"sha256": "b"}}
    PredictionCache(tmp_path / "cells", identity=identity).save("fog-1", classifier.predict([images]))
    assert PredictionCache(tmp_path / "cells", identity=identity).load("fog-1") is not None
    with caplog.at_level(logging.INFO, logger="tenet"):
        store = PredictionCache(tmp_path / "cells", identity={"weights": "a", "images": {"sha256": "c"}})
    assert store.load("fog-1") is None
    assert store.found == 0
    assert "starting the sweep anew: images changed" in caplog.text
    store.close(keep=False)
    assert not (tmp_path / "cells").exists()


def test_kept_predictions_are_neither_thrown_away_nor_mixed_with_others(classifier, images, tmp_path):
    store = PredictionCache(tmp_path / "cells", identity={"weights": "a"})
    store.save("fog-1", classifier.predict([images]))
    store.close(keep=True)
    again = PredictionCache(tmp_path / "cells", identity={"weights": "a"})
    assert again.kept
    assert again.load("fog-1") is not None
    again.close(keep=False)
    assert (tmp_path / "cells" / "fog-1.npz").exists()
    with pytest.raises(ConfigError, match="keeps the predictions of another evaluation"):
        PredictionCache(tmp_path / "cells", identity={"weights": "b"})


def test_a_folder_of_other_files_is_left_alone_and_a_damaged_cell_is_measured_again(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other files"):
        PredictionCache(tmp_path / "own", identity={})
    assert (tmp_path / "own" / "notes.txt").read_text() == "mine"
    store = PredictionCache(tmp_path / "cells", identity={})
    (tmp_path / "cells" / "fog-1.npz").write_bytes(b"")
    assert store.load("fog-1") is None
    store.close(keep=False)


def test_one_process_at_a_time_keeps_cells_in_a_folder(tmp_path):
    store = PredictionCache(tmp_path / "cells", identity={})
    code = f"""
from pathlib import Path
from tenet.evaluation.cache import PredictionCache
PredictionCache(Path({str(tmp_path / "cells")!r}), identity={{}})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "another process is evaluating" in done.stderr
    store.close(keep=False)


def test_outputs_that_are_not_finite_give_no_figure(classifier, images):
    next(classifier.model.parameters()).data.fill_(torch.nan)
    with pytest.raises(NonFiniteOutputError, match="not finite"):
        classifier.predict([images])


def test_a_classifier_of_any_model_will_do(images):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5))
    assert 0 <= Classifier(model, Normalization()).error_pct(*images) <= 100
