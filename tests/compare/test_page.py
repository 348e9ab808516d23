"""The HTML page: whole, self-contained, and safe whatever a run folder holds."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from tenet.compare.charts import curves_svg, mean_cells, mean_curve
from tenet.compare.groups import Group, compare
from tenet.compare.page import page
from tenet.compare.runs import find_runs, read_run
from tests.compare.folders import write_evaluation, write_pair, write_run

VOID = {"meta", "br"}
EVIL = "</td><script>alert(1)</script>\"'&"


class Outline(HTMLParser):
    """Tags with their attributes, and the text; fails where tags don't match."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def render(top, **kwargs):
    runs = [read_run(folder) for folder in find_runs([str(top)])]
    return page(compare(runs), **{"link_from": Path(top), **kwargs})


def test_the_page_holds_figures_keys_curves_heatmaps_and_links(tmp_path):
    outline = Outline(render(write_pair(tmp_path)))
    for text in ("12.00 ± 2.00", "+2.00 [+1.00, +3.00] (3 pairs)", "tenet.groups", "stage_2", "train/loss"):
        assert text in outline.text
    classes = [attrs.get("class") for attrs in outline.all("table")]
    assert classes.count("heat") == 2
    assert classes.count("sortable") == 2
    assert len(outline.all("svg")) == 2  # test error and training loss; there is no validation set
    assert [a["href"] for a in outline.all("a")][:2] == ["plain/0/", "plain/1/"]


def test_links_are_relative_to_where_the_page_lies(tmp_path):
    write_run(tmp_path / "runs" / "0", seed=0)
    (tmp_path / "docs").mkdir()
    outline = Outline(render(tmp_path, link_from=tmp_path / "docs"))
    assert [a["href"] for a in outline.all("a")] == ["../runs/0/"]


def test_the_page_asks_nothing_of_the_network(tmp_path):
    text = render(write_pair(tmp_path), published=True)
    outline = Outline(text)
    assert "http" not in text.replace("http-equiv", "")
    assert not any({"src", "srcset", "onclick"} & attrs.keys() for _, attrs in outline.tags)
    assert {"link", "img", "iframe"}.isdisjoint(tag for tag, _ in outline.tags)
    assert "default-src 'none'" in outline.all("meta")[1]["content"]


def test_everything_from_a_run_folder_is_escaped(tmp_path):
    for name, value in (("javascript:alert(1)<b>", EVIL), ("b", "fine")):
        tenet = {"_target_": "x", "layer": value, EVIL: value}
        run = write_run(tmp_path / name, seed=0, tenet=tenet, source=EVIL)
        write_evaluation(run, mce=1, source=EVIL, name="corruptions<img src=y>.json")
    cut = write_run(tmp_path / "<img src=x>", seed=0)
    (cut / "config.yaml").write_text("- broken")
    outline = Outline(render(tmp_path))
    assert len(outline.all("script")) == 1
    assert {"img", "b"}.isdisjoint(tag for tag, _ in outline.tags)
    assert EVIL in outline.text
    assert "corruptions<img src=y>.json is left out" in outline.text
    assert "<img src=x>" in outline.text
    assert all(":" not in a["href"] for a in outline.all("a"))


def test_a_run_without_metrics_or_evaluation_still_makes_a_page(tmp_path):
    (write_run(tmp_path, seed=0, mce=None) / "metrics.jsonl").unlink()
    outline = Outline(render(tmp_path))
    assert "not evaluated" in outline.text
    assert outline.all("svg") == []


def test_curves_are_means_over_the_steps_that_all_seeds_have():
    one = [{"step": 10, "m": 1.0}, {"step": 20, "m": 5.0}, {"step": 30, "m": float("nan")}]
    other = [
        {"step": 10, "m": 3.0},
        {"step": 20, "m": 5.0},
        {"step": 30, "m": 7.0},
        {"step": 40, "other": 1.0},
    ]
    assert mean_curve([one, other], "m") == [(10, 2, pytest.approx(2**0.5)), (20, 5, 0)]
    assert mean_curve([one, other], "absent") == []


def test_long_curves_are_thinned_and_keep_their_end():
    curve = mean_curve([[{"step": step, "m": 1.0} for step in range(1, 10_001)]], "m")
    assert len(curve) < 400
    assert curve[-1].step == 10_000


def test_a_curve_is_drawn_inside_its_frame():
    curve = mean_curve([[{"step": 0, "m": 4.0}, {"step": 100, "m": 1.0}]], "m")
    # Left edge at the top, right edge at half the height: the axis is a square root.
    assert "M44.0 10.0L430.0 111.0" in curves_svg([curve], title="m")


def test_cells_are_means_over_seeds_and_the_extra_corruptions_stand_apart(tmp_path):
    runs = [
        read_run(write_run(tmp_path / str(seed), seed=seed, mce=mce)) for seed, mce in enumerate((10, 14))
    ]
    cells = mean_cells(Group((), tuple(runs)), "mCE, generated")
    assert cells["fog"][3] == 12
    assert cells["saturate"][3] == 13
    assert len(cells) == 19
    assert render(tmp_path).count('<tr class="extra">') == 4
