"""The figures of a report: definitions, intervals, files."""

import csv
import json

import pytest
import torch

from tenet.corruptions.alexnet import normalised_mce
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES
from tenet.evaluation.classifier import Cell
from tenet.evaluation.files import robustbench_info, write_csv, write_json
from tenet.evaluation.plots import write_pictures
from tenet.evaluation.predictions import Predictions
from tenet.evaluation.report import Measures, RobustnessReport, print_report

IMAGES = 200


def predictions(error_pct, *, seed=0):
    """Of two classes; the given share is wrong, at images drawn by seed."""
    labels = torch.arange(IMAGES) % 2
    wrong = torch.zeros(IMAGES, dtype=torch.bool)
    wrong[
        torch.randperm(IMAGES, generator=torch.Generator().manual_seed(seed))[
            : round(error_pct * IMAGES / 100)
        ]
    ] = True
    confidence = torch.full((IMAGES,), 0.8)
    return Predictions(torch.where(wrong, 1 - labels, labels), labels, confidence, torch.full((IMAGES,), 0.5))


def make_report(names=CORRUPTIONS + EXTRA_CORRUPTIONS, severities=SEVERITIES, **kwargs):
    """The k-th corruption has an error of k + 5 severity percent."""
    cells = [
        Cell(
            name,
            severity,
            predictions((CORRUPTIONS + EXTRA_CORRUPTIONS).index(name) + 5 * severity, seed=severity),
        )
        for name in names
        for severity in severities
    ]
    fields = {
        "source": "generated",
        "classes": ("even", "odd"),
        "clean": predictions(4),
        "cells": tuple(cells),
    }
    return RobustnessReport(**{**fields, **kwargs})


def test_mce_is_the_plain_mean_over_the_15_and_the_extra_ones_never_enter():
    # Corruption k at severity s: k + 5 s. Means: k is 7 over 0..14, s is 3: 22.
    assert make_report().mce_pct == pytest.approx(22)
    assert make_report(CORRUPTIONS).mce_pct == pytest.approx(22)


def test_mce_on_imagenet_c_is_relative_to_alexnet():
    report = make_report(normalized=True)
    assert report.mce_pct == pytest.approx(normalised_mce(report.errors))
    low, high = report.interval_pct(report.mean_cells, weighted=True)
    assert low < report.mce_pct < high


@pytest.mark.parametrize(
    ("names", "severities"),
    [(CORRUPTIONS[:-1], SEVERITIES), (CORRUPTIONS, (1, 2, 3, 4)), (EXTRA_CORRUPTIONS, SEVERITIES)],
)
def test_without_all_75_cells_there_is_no_mce(names, severities):
    report = make_report(names, severities)
    assert report.mce_pct is None
    assert report.missing
    assert "corruption/mce_pct" not in report.metrics()


def test_metric_names_are_paths():
    metrics = make_report(other={"cifar10.1-v6": predictions(10)}).metrics()
    assert metrics["test/error_pct"] == pytest.approx(4)
    assert metrics["corruption/mce_pct"] == pytest.approx(22)
    assert metrics["corruption/fog/3/error_pct"] == pytest.approx(9 + 15)
    assert metrics["corruption/fog/error_pct"] == pytest.approx(9 + 15)
    assert metrics["corruption/nll"] == pytest.approx(0.5)
    assert metrics["test/cifar10.1-v6/error_pct"] == pytest.approx(10)
    assert all(type(value) is float for value in metrics.values())


def test_intervals_hold_the_figure_and_resample_images_jointly_over_cells():
    report = make_report()
    low, high = report.interval_pct(report.mean_cells)
    assert low < 22 < high
    # The same images wrong in every cell: the mean over cells is as uncertain as one cell.
    same = tuple(Cell(name, 1, predictions(20)) for name in CORRUPTIONS)
    alone = report.interval_pct(same[:1])
    assert report.interval_pct(same) == pytest.approx(alone)
    assert make_report(measures=Measures(intervals=False)).interval_pct(same) is None


def test_json_holds_what_was_asked_for_and_is_strict(tmp_path):
    lonely = predictions(4)._replace(labels=torch.zeros(IMAGES, dtype=torch.int64))
    report = make_report(clean=lonely, measures=Measures(per_class=True))
    write_json(report.as_json({"weights": "w"}), tmp_path / "r.json")
    content = json.loads((tmp_path / "r.json").read_text(), parse_constant=pytest.fail)
    assert content["source"] == "generated"
    assert content["corruptions"]["fog"]["1"] == pytest.approx(14)
    assert content["mce_pct"] == pytest.approx(22)
    assert content["mce_interval_pct"][0] < 22 < content["mce_interval_pct"][1]
    assert content["clean"]["error_pct_by_class"]["odd"] is None, "no image of this class"
    assert content["images_per_cell"] == IMAGES
    bare = make_report(measures=Measures(calibration=False, likelihood=False, intervals=False)).as_json({})
    assert set(bare["clean"]) == {"error_pct", "images"}
    assert bare["corrupted"] == {}


def test_csv_has_a_line_for_every_cell(tmp_path):
    write_csv(make_report(CORRUPTIONS), tmp_path / "r.csv")
    with (tmp_path / "r.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 75
    assert float(rows[0]["error_pct"]) == pytest.approx(5)
    assert {row["source"] for row in rows} == {"generated"}


def test_robustbench_info_has_its_form_and_says_where_the_figures_are_not_from_the_files():
    info = robustbench_info(make_report(), name="mine", dataset="cifar10", architecture="ResNeXt")
    assert (info["clean_acc"], info["corruptions_acc"], info["eps"]) == ("96.00", "78.00", None)
    assert "generated" in info["footnote"]
    official = robustbench_info(
        make_report(source="files"), name="mine", dataset="cifar10", architecture="ResNeXt"
    )
    assert "footnote" not in official


def test_the_table_shows_errors_means_and_the_figures_below(capsys):
    print_report(make_report(flip_probabilities={"tilt": 0.1}), title="mine")
    text = capsys.readouterr().out
    fog = next(line for line in text.splitlines() if "fog" in line)
    assert [part.strip() for part in fog.split("│") if part.strip()] == [
        "fog",
        "14.00",
        "19.00",
        "24.00",
        "29.00",
        "34.00",
        "24.00",
    ]
    assert "mCE 22.00 % [" in text
    assert "clean error 4.00 % [" in text


def test_pictures_are_written_for_what_was_measured(tmp_path):
    written = write_pictures(make_report(("fog", "saturate"), (2, 5)), tmp_path / "corruptions")
    assert set(written) == {"corruption/heatmap", "corruption/curves"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written.values())
    assert write_pictures(make_report(()), tmp_path / "none") == {}
