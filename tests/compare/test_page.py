"""The HTML page: complete, self-contained, and safe for any contents of run folders."""

import base64
import os
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tenet.compare.groups import Group, compare
from tenet.compare.heatmaps import mean_cells
from tenet.compare.page import page
from tenet.compare.runs import find_runs, read_run
from tests.compare.folders import write_evaluation, write_pair, write_run

VOID = {"meta", "img", "wbr"}
EVIL = "</td><script>alert(1)</script>\"'&"


class Outline(HTMLParser):
    """Tags with their attributes, and the text. Fails if tags do not match."""

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


@pytest.mark.slow
def test_robust_accuracy_is_a_column_and_drawn_over_the_mce(tmp_path):
    top = write_pair(tmp_path)
    cells = {
        "pgd-linf-8": {"attack": "PGD-20", "radius": "8/255", "robust_accuracy_pct": 41.5, "images": 500}
    }
    for folder in find_runs([str(top)]):
        attacks = {"asked": ["pgd"], "norm": "linf", "of_test_images": 500, "cells": cells}
        write_evaluation(folder, mce=None, name="corruptions-part.json", attacks=attacks)
    (top / "plain" / "0" / "evaluation" / "corruptions-part.json").write_text('{"attacks": {"cells": [1]}}')
    outline = Outline(render(top))
    assert "robust accuracy, PGD-20, linf 8/255, %" in outline.text
    assert "41.50 ± 0.00" in outline.text
    assert len(outline.all("svg")) == 5
    (tmp_path / "plain" / "0" / "evaluation" / "corruptions-part.json").write_text(
        '{"attacks": {"cells": [1]}}'
    )
    Outline(render(top))


def test_the_page_holds_figures_keys_curves_heatmaps_and_links(tmp_path):
    outline = Outline(render(write_pair(tmp_path)))
    for text in ("12.00 ± 2.00", "+2.00 [-0.48, +4.48] (3 pairs)", "tenet.groups", "stage_2", "train/loss"):
        assert text in outline.text
    classes = [attrs.get("class") for attrs in outline.all("table")]
    assert classes.count("heat") == 2
    assert (classes.count("sortable figures"), classes.count("sortable")) == (
        3,
        1,
    )  # means, differences, runs; keys
    # Error over severity, difference by corruption, test error, training loss; no validation set.
    assert len(outline.all("svg")) == 4
    assert [a["href"] for a in outline.all("a")][:2] == ["plain/0/", "plain/1/"]


def test_links_are_relative_to_the_page(tmp_path):
    write_run(tmp_path / "runs" / "0", seed=0)
    (tmp_path / "docs").mkdir()
    outline = Outline(render(tmp_path, link_from=tmp_path / "docs"))
    assert [a["href"] for a in outline.all("a")] == ["../runs/0/"]


def test_a_folder_whose_name_is_not_utf8_has_a_link(tmp_path):
    write_run(tmp_path / os.fsdecode(b"run-\xff"), seed=0)
    text = render(tmp_path)
    assert [a["href"] for a in Outline(text).all("a")] == ["run-%FF/"]
    assert text.encode()


def test_the_page_needs_no_network(tmp_path):
    text = render(write_pair(tmp_path), published=True)
    outline = Outline(text)
    assert "http" not in text.replace("http-equiv", "")
    assert not any({"src", "srcset", "onclick"} & attrs.keys() for _, attrs in outline.tags)
    assert {"link", "iframe"}.isdisjoint(tag for tag, _ in outline.tags)
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


def test_runs_without_metrics_or_evaluation_have_a_page(tmp_path):
    (write_run(tmp_path, seed=0, mce=None) / "metrics.jsonl").unlink()
    outline = Outline(render(tmp_path))
    assert "not evaluated" in outline.text
    assert outline.all("svg") == []


@pytest.mark.slow
def test_cells_are_means_over_seeds_and_extra_corruptions_are_faint(tmp_path):
    runs = [
        read_run(write_run(tmp_path / str(seed), seed=seed, mce=mce)) for seed, mce in enumerate((10, 14))
    ]
    cells = mean_cells(Group((), (), "all runs", tuple(runs)), "mCE, generated, %")
    assert cells["fog"][3] == 12
    assert cells["saturate"][3] == 13
    assert len(cells) == 19
    assert render(tmp_path).count('<tr class="extra">') == 4


@pytest.mark.slow
def test_left_out_runs_are_listed_with_the_reason(tmp_path):
    write_pair(tmp_path)
    write_run(tmp_path / "cut", seed=9, epoch=1)
    outline = Outline(render(tmp_path))
    assert "6 in 2 groups, seeds 0, 1, 2" in outline.text
    assert "1 run is left out, wholly or in part" in outline.text
    assert "unfinished: stopped at epoch 1 of 2" in outline.text
    assert "cut/" in [a["href"] for a in outline.all("a")]


@pytest.mark.slow
def test_at_most_seven_groups_are_drawn_and_the_page_says_so(tmp_path):
    for index in range(12):
        write_run(tmp_path / str(index), seed=0, mce=index, lr=index / 10)
    outline = Outline(render(tmp_path))
    assert "curves and heatmaps show 7 groups" in outline.text
    assert [attrs.get("class") for attrs in outline.all("table")].count("heat") == 7
    assert "lr=0.6" in outline.text
    assert "lr=0.7" not in outline.text
    # With many groups, the table of keys counts the runs of each value.
    assert "1 (1), 1.1 (1)" in outline.text


def test_xrays_are_in_the_page_within_the_size_limits(tmp_path, monkeypatch):
    monkeypatch.setattr("tenet.compare.page.MAX_BYTES", 40)
    monkeypatch.setattr("tenet.compare.page.MAX_TOTAL_BYTES", 60)
    run = write_run(tmp_path, seed=0)
    png = b"\x89PNG\r\n\x1a\n"
    pictures = {"xray": png, "xray-2": png + b"x" * 40, "xray-3": b"secret", "xray-4": png + b"<>"}
    for name, content in pictures.items():
        (run / "evaluation" / f"{name}.png").write_bytes(content)
    outline = Outline(render(tmp_path))
    assert [base64.b64decode(img["src"].partition(",")[2]) for img in outline.all("img")] == [
        png,
        png + b"<>",
    ]
    assert all(img["src"].startswith("data:image/png;base64,") for img in outline.all("img"))
    assert "2 more are left out" in outline.text
