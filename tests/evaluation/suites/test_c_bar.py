"""CIFAR-10-C-bar and ImageNet-C-bar as suites."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tenet.corruptions import corrupt
from tenet.corruptions.names import CIFAR_BAR, IMAGENET_BAR
from tenet.corruptions.parameters import IMAGENET_BAR_MAGNITUDES
from tenet.data import ImageArrays
from tenet.errors import ConfigError, DatasetError
from tenet.evaluation.measures import Measures
from tenet.evaluation.suites.c_bar import CBar
from tests.corruptions.test_generator import photographs
from tests.entry_points import TINY, evaluate, train
from tests.evaluation.predictions import make_predictions

MEASURES = Measures(("even", "odd"))


def clean(size: int = 16) -> ImageArrays:
    return ImageArrays(photographs(4, size, size), torch.arange(4) % 2, ("even", "odd"))


def summarize(suite: CBar):
    """Predictions of an error of 1, 2, 3 ... % in the order of the cells."""
    predictions = {name: make_predictions(row) for row, name in enumerate(suite.cell_names(), 1)}
    return suite.summarize({"clean": make_predictions(0), **predictions})


def test_the_generated_cells_are_the_generators_and_their_mean_is_plain():
    suite = CBar(clean(), MEASURES, seed=3)
    assert len(suite) == len(suite.cell_names()) == 50
    cell = next(cell for cell in suite.cells() if cell.name == "c_bar/ripple/4")
    expected = corrupt(clean().images, corruption="ripple", severity=4, seed=3)
    assert torch.equal(next(iter(cell.source.batches([torch.arange(4)]))).images, expected)
    summary = summarize(suite)
    assert summary.content["c_bar"]["benchmark"] == "CIFAR-10-C-bar"
    assert summary.metrics["c_bar_generated/error_pct"] == pytest.approx(25.5)
    assert not any(name.startswith("corruption") for name in summary.metrics), "not mixed with the mCE"
    assert [line for line in summary.lines if line.startswith("CIFAR-10-C-bar 25.50 %")]
    assert len(summary.records) == 50


def test_a_part_has_no_mean():
    summary = summarize(CBar(clean(), MEASURES, names=["lines"], severities=[2, 1]))
    assert "error_pct" not in summary.content["c_bar"]
    assert not summary.is_complete
    assert "no mean of CIFAR-10-C-bar: 2 of its 50 cells were measured" in summary.lines
    assert "c_bar_generated/lines/2/error_pct" in summary.metrics


def test_files_are_read_in_the_layout_of_cifar_10_c(tmp_path: Path):
    np.save(tmp_path / "labels.npy", np.tile(np.arange(4) % 2, 5))
    for number, name in enumerate(CIFAR_BAR):
        np.save(tmp_path / f"{name}.npy", np.full((20, 16, 16, 3), number, np.uint8))
    summary = summarize(suite := CBar(clean(), MEASURES, root=str(tmp_path)))
    assert summary.metrics["c_bar/error_pct"] == pytest.approx(25.5)
    assert next(suite.cells()).source.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("by_magnitude", [False, True])
def test_a_tree_has_severities_by_number_or_by_magnitude(tmp_path: Path, by_magnitude: bool):
    for name in IMAGENET_BAR:
        for severity, magnitude in enumerate(IMAGENET_BAR_MAGNITUDES[name], 1):
            for label in ("even", "odd"):
                folder = tmp_path / name / (f"{magnitude:.2f}" if by_magnitude else str(severity)) / label
                folder.mkdir(parents=True)
                pixels = np.full((96, 96, 3), severity, np.uint8)
                Image.fromarray(pixels).save(folder / "image.png")
    suite = CBar(clean(96), MEASURES, root=str(tmp_path))
    assert suite.title == "ImageNet-C-bar"
    assert len(suite) == 50
    last = next(cell for cell in suite.cells() if cell.name == "c_bar/sparkles/5")
    assert (next(iter(last.source.batches([torch.arange(2)]))).images == 5).all()
    assert suite.measured()["kind"] == "files"


def test_what_does_not_fit_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="names=caustic_refraction: not there; there are blue_noise_sample"):
        CBar(clean(), MEASURES, names=["caustic_refraction"])
    with pytest.raises(DatasetError, match="at least 8 pixels; the data set's have 4"):
        CBar(clean(4), MEASURES)
    several = ImageArrays(photographs(2, 16, 16), torch.ones(2, 2, dtype=torch.int8), ("a", "b"))
    with pytest.raises(ConfigError, match=r"suite\.root=.*one label each"):
        CBar(several, MEASURES, root=str(tmp_path))


def test_the_command_measures_it_beside_the_clean_images(tmp_path: Path):
    train(*TINY, "trainer.max_steps=1", "hydra.run.dir=run", cwd=tmp_path)
    words = ["run=run", "corruptions.names=[]", "suite=c_bar", "suite.severities=[1]"]
    done = evaluate(*words, "suite.names=[ripple,lines]", cwd=tmp_path)
    assert "no mean of CIFAR-10-C-bar: 2 of its 50 cells were measured" in done.output
    with (tmp_path / "run" / "evaluation" / "corruptions-part.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["c_bar"], row["severity"], row["corruption"]) for row in rows] == [
        ("lines", "1", ""),
        ("ripple", "1", ""),
    ]
