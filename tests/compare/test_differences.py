"""The difference by corruption, and which figure is the best one."""

import json

import pytest

from tenet.compare.__main__ import main
from tenet.compare.differences import MEAN, corruption_differences
from tenet.compare.groups import compare
from tenet.compare.runs import find_runs, read_run
from tenet.compare.text import markdown
from tests.compare.folders import PLAIN, TENET, write_pair, write_run

GENERATED = "mCE, generated, %"


def read(top):
    return [read_run(folder) for folder in find_runs([str(top)])]


def test_the_differences_by_corruption_are_paired_by_seed(tmp_path):
    write_pair(tmp_path)
    report = tmp_path / "plain" / "0" / "evaluation" / "corruptions.json"
    content = json.loads(report.read_text())
    content["corruptions"]["fog"] = dict.fromkeys("12345", 26.0)  # 16 more than TENET's
    del content["corruptions"]["snow"]["5"]  # not whole: this pair is left out
    report.write_text(json.dumps(content))
    comparison = compare(read(tmp_path))
    rows = corruption_differences(comparison.groups[1], comparison.baselines[0], GENERATED)
    assert len(rows) == 16
    assert rows["frost"].mean == pytest.approx(2)  # 11, 15, 16 less 10, 12, 14
    assert rows["frost"].interval == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)
    assert rows["fog"].mean == pytest.approx((16 + 3 + 2) / 3)
    assert (rows["snow"].mean, rows["snow"].interval, rows["snow"].pairs) == (2.5, None, 2)
    assert rows[MEAN].pairs == 2


def test_the_differences_are_a_picture_and_without_any_the_command_says_what_to_do(tmp_path, capsys):
    write_pair(tmp_path / "runs")
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        path = tmp_path / f"difference{suffix}"
        assert main([str(tmp_path / "runs"), "--output", str(path)]) == 0
        assert path.read_bytes().startswith(start)
    text = path.read_text()
    assert "difference from tenet=inhibition" in text
    assert "gaussian noise" in text
    write_run(tmp_path / "one", seed=0)
    assert main([str(tmp_path / "one"), "--output", str(tmp_path / "x.pdf")]) == 1
    assert "needs two groups with an mCE" in capsys.readouterr().err


def latex_rows(capsys, top, *more):
    assert main([str(top), "--format", "latex", *more]) == 0
    text = capsys.readouterr().out
    return [line for line in text[: text.index("Difference")].splitlines() if line.startswith("{}")][1:]


def test_the_best_means_are_bold_in_latex_with_ties_and_by_direction(tmp_path, capsys):
    for index, (mce, speed) in enumerate([(12.004, 100.0), (12.0, 300.0), (13.0, 200.0)]):
        run = write_run(tmp_path / str(index), seed=0, mce=mce, lr=index + 1.0)
        (run / "summary.json").write_text(json.dumps({"test/error_pct": 4.0, "speed/images_per_s": speed}))
    rows = latex_rows(capsys, tmp_path, "--metrics", "speed/images_per_s")
    assert rows == [
        r"{}2 & 4.00 & \textbf{12.00} & \textbf{300} & 1 \\",
        r"{}1 & 4.00 & \textbf{12.00} & 100 & 1 \\",
        r"{}3 & 4.00 & 13.00 & 200 & 1 \\",
    ], "equal as printed: both; all equal: none; more images a second are better"


def test_one_group_has_no_best_figure(tmp_path, capsys):
    write_run(tmp_path / "0", seed=0)
    write_run(tmp_path / "1", seed=0, tenet=PLAIN, mce=None, test=None)
    (tmp_path / "1" / "summary.json").unlink()
    assert "textbf" not in "".join(latex_rows(capsys, tmp_path))


def test_of_several_baselines_each_group_has_the_one_with_its_other_settings(tmp_path):
    for seed, lr in ((0, 0.1), (1, 0.1), (0, 0.3), (1, 0.3)):
        for name, tenet, mce in (("4", {**TENET, "groups": 4}, 10), ("6", TENET, 12), ("none", PLAIN, 15)):
            write_run(tmp_path / f"{name}-{lr}-{seed}", seed=seed, lr=lr, tenet=tenet, mce=mce + 100 * lr)
    write_run(tmp_path / "alone", seed=0, lr=0.5)
    comparison = compare(read(tmp_path), baseline=["tenet=none"])
    assert comparison.baseline_label == "tenet=none with the same other settings"
    found = {
        group.label: comparison.difference(group, GENERATED).mean
        for group in comparison.groups
        if group not in comparison.baselines
    }
    label = "lr={1}, tenet=inhibition, groups={0}".format
    expected = {
        label(4, 0.1): -5,
        label(6, 0.1): -3,
        label(4, 0.3): -5,
        label(6, 0.3): -3,
        label(6, 0.5): None,
    }
    assert {name: mean and round(mean, 6) for name, mean in found.items()} == expected
    assert "| 0.5 | inhibition | 6 | no such group | no such group |" in markdown(comparison)
