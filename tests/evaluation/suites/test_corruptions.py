"""The suite of corruptions: the mCE, intervals, the table and the files."""

import pytest
import torch

from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES
from tenet.data import ImageArrays
from tenet.errors import ConfigError
from tenet.evaluation.mce import mean_corruption_error_pct
from tenet.evaluation.measures import Measures, Predictions
from tenet.evaluation.reports import SECTIONS
from tenet.evaluation.robustbench import Model
from tenet.evaluation.suites.corruptions import CorruptionFigures, Corruptions, cell_name
from tenet.evaluation.suites.suite import CLEAN
from tests.evaluation.predictions import IMAGES, make_predictions

NAMES = CORRUPTIONS + EXTRA_CORRUPTIONS
CLASSES = ("even", "odd")


class Archive:
    """Ten images, the same in every cell."""

    names = NAMES

    def __init__(self, kind="generated"):
        self.kind, self.opened = kind, []

    def cell(self, corruption, severity):
        self.opened.append((corruption, severity))
        return ImageArrays(torch.zeros(10, 8, 8, 3, dtype=torch.uint8), torch.arange(10) % 2, CLASSES)

    def identity(self):
        return {"kind": self.kind}


def make_suite(archive=None, **options):
    model = Model(name="mine", dataset="cifar10", architecture="ResNeXt")
    fields = {"origin": {"seed": 0}, "measures": Measures(CLASSES), "model": model, **options}
    return Corruptions(archive or Archive(), **fields)


def cells(names=NAMES, severities=SEVERITIES):
    """The k-th corruption has an error of k + 5 severity percent."""
    return {
        name: {
            severity: make_predictions(NAMES.index(name) + 5 * severity, seed=severity)
            for severity in severities
        }
        for name in names
    }


def summarize(suite, *, clean=None):
    predictions = {
        cell_name(name, severity): each
        for name, by_severity in cells(suite.names, suite.severities).items()
        for severity, each in by_severity.items()
    }
    return suite.summarize({CLEAN: clean or make_predictions(4), **predictions})


# --- figures


def make_figures(names=NAMES, severities=SEVERITIES, **options):
    return CorruptionFigures(cells(names, severities), **{"measures": Measures(), **options})


def test_mce_is_the_plain_mean_over_the_15_and_the_extra_ones_never_enter():
    # Corruption k at severity s: k + 5 s. Means: k is 7 over 0..14, s is 3: 22.
    assert make_figures().mce_pct == pytest.approx(22)
    assert make_figures(CORRUPTIONS).mce_pct == pytest.approx(22)


def test_mce_on_imagenet_c_is_relative_to_alexnet():
    figures = make_figures(normalized=True)
    assert figures.mce_pct == mean_corruption_error_pct(figures.errors, relative_to_alexnet=True)
    low, high = figures.mce_interval_pct
    assert low < figures.mce_pct < high
    assert "relative to AlexNet's" in figures.mce_definition


@pytest.mark.parametrize(
    ("names", "severities"),
    [(CORRUPTIONS[:-1], SEVERITIES), (CORRUPTIONS, (1, 2, 3, 4)), (EXTRA_CORRUPTIONS, SEVERITIES)],
)
def test_without_all_75_cells_there_is_no_mce(names, severities):
    figures = make_figures(names, severities)
    assert figures.mce_pct is None
    assert "corruption/mce_pct" not in figures.metrics("corruption")
    assert "mce_interval_pct" not in figures.content()
    assert figures.lines()[0].startswith("no mCE: ")


def test_metric_names_are_paths():
    metrics = make_figures().metrics("corruption")
    assert metrics["corruption/mce_pct"] == pytest.approx(22)
    assert metrics["corruption/fog/3/error_pct"] == pytest.approx(9 + 15)
    assert metrics["corruption/fog/error_pct"] == pytest.approx(9 + 15)
    assert metrics["corruption/nll"] == pytest.approx(0.5)
    assert all(type(value) is float for value in metrics.values())


def test_the_interval_of_the_mce_is_over_the_15_and_holds_it():
    low, high = make_figures().mce_interval_pct
    assert low < 22 < high
    assert make_figures(CORRUPTIONS).mce_interval_pct == [low, high]
    assert make_figures(measures=Measures(intervals=False)).mce_interval_pct is None


# --- the suite


def test_cells_are_opened_one_by_one_in_the_benchmarks_order():
    archive = Archive()
    suite = make_suite(archive, names=["fog", "snow"], severities=[3, 1])
    opened = suite.cells()
    assert next(opened).name == "corruption/snow/1"
    assert archive.opened == [("snow", 1)]
    assert [cell.name for cell in opened] == ["corruption/snow/3", "corruption/fog/1", "corruption/fog/3"]
    assert len(suite) == 4


def test_unknown_corruptions_and_no_severities_are_refused():
    with pytest.raises(
        ConfigError, match=r"corruptions\.names=fogg: not there; did you mean fog.*there are gau"
    ):
        make_suite(names=["fogg"])
    with pytest.raises(ConfigError, match=r"corruptions\.severities=\[\]: name at least one"):
        make_suite(severities=[])


@pytest.mark.parametrize(
    ("kind", "options", "marks"),
    [
        ("generated", {}, []),
        ("files", {}, ["files"]),
        ("generated", {"names": ["fog"]}, ["part"]),
        ("files", {"severities": [1]}, ["files", "part"]),
        ("generated", {"names": CORRUPTIONS}, []),
    ],
)
def test_official_figures_and_parts_are_marked(kind, options, marks):
    assert list(make_suite(Archive(kind), **options).marks) == marks


def test_the_report_says_what_was_measured():
    summary = summarize(make_suite(names=["fog", "saturate"]))
    assert summary.content["source"] == "generated"
    assert summary.content["corruptions_from"] == {"seed": 0}
    figures = summary.content["corruption_generated"]
    assert figures["corruptions"]["fog"]["1"] == pytest.approx(14)
    assert figures["corruption_means"]["saturate"]["error_pct"] == pytest.approx(33)
    assert figures["images_per_cell"] == IMAGES
    assert not summary.is_complete
    assert summary.documents == {}
    assert [(row["corruption"], row["severity"]) for row in summary.records[4:6]] == [
        ("fog", 5),
        ("saturate", 1),
    ]
    whole = summarize(make_suite())
    assert whole.is_complete
    figures = whole.content["corruption_generated"]
    assert figures["mce_pct"] == pytest.approx(22)
    assert figures["mce_interval_pct"][0] < 22 < figures["mce_interval_pct"][1]


@pytest.mark.parametrize(("kind", "section"), SECTIONS.items())
def test_official_and_generated_figures_never_share_a_name(kind, section):
    summary = summarize(make_suite(Archive(kind)))
    assert {name.partition("/")[0] for name in (*summary.metrics, *summary.pictures)} == {section}
    assert summary.content[section]["mce_pct"] == summary.metrics[f"{section}/mce_pct"]


def test_without_corruptions_there_are_no_cells_lines_and_pictures():
    summary = summarize(make_suite(names=[]))
    figures = summary.content["corruption_generated"]
    assert (figures["corruptions"], figures["corrupted"], figures["images_per_cell"]) == ({}, {}, 0)
    assert (summary.lines, summary.tables, summary.pictures, summary.records) == ([], [], {}, [])


def test_cells_of_fewer_images_than_the_test_set_are_said_and_are_no_figure_of_the_run():
    clean = make_predictions(4)
    suite = make_suite(Archive("files"), names=CORRUPTIONS)
    assert "robustbench.json" in summarize(suite, clean=clean).documents
    summary = summarize(suite, clean=Predictions(*(torch.cat([each, each]) for each in clean)))
    assert "a part of the test set: 200 images under each corruption, 400 clean ones" in summary.lines
    assert summary.content["corruption"]["mce_pct"] is not None
    assert not summary.is_complete
    assert not summary.documents


def test_robustbench_info_has_its_form_and_says_where_the_figures_are_not_from_the_files():
    ((name, info),) = summarize(make_suite()).documents.items()
    assert name == "robustbench-generated.json"
    assert (info["clean_acc"], info["corruptions_acc"], info["eps"]) == ("96.00", "78.00", None)
    assert (info["name"], info["dataset"], info["architecture"]) == ("mine", "cifar10", "ResNeXt")
    assert "generated" in info["footnote"]
    ((name, official),) = summarize(make_suite(Archive("files"))).documents.items()
    assert name == "robustbench.json"
    assert "footnote" not in official
    assert summarize(make_suite(normalized=True)).documents == {}, "another mCE than RobustBench's"


def test_pictures_are_drawn_of_what_was_measured():
    suite = make_suite(names=["fog", "saturate"], severities=[2, 5])
    pictures = summarize(suite).pictures
    assert set(pictures) == {f"corruption_generated/{name}" for name in ("heatmap", "curves", "sheet")}
    assert suite.images.opened == [], "not before it is asked for"
    heatmap = pictures["corruption_generated/heatmap"]()
    assert "clean error 4.00 %" in heatmap.axes[0].get_title()
    assert [text.get_text() for text in heatmap.axes[0].texts] == [
        "19.0",
        "34.0",
        "26.5",
        "28.0",
        "43.0",
        "35.5",
    ]
    assert "saturate: 35.5 %" in [axes.get_title() for axes in pictures["corruption_generated/curves"]().axes]
    pictures["corruption_generated/sheet"]()
    assert suite.images.opened == [("fog", 2), ("fog", 5), ("saturate", 2), ("saturate", 5)]
