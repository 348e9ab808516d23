"""Curves: read from metrics files of any length, averaged over seeds, and drawn."""

import json
import re

import pytest

from tenet.compare.curves import MAX_POINTS, Point, curves_svg, mean_curve, read_curves

LOSS, ERROR = "train/loss", "test/error_pct"


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_values_are_read_by_metric_and_step(tmp_path):
    rows = [
        {"step": 1, LOSS: 2.0},
        {"step": 2, LOSS: 1.5, ERROR: 9},
        {"step": 3, "train/loss_inhibited": 7.0},
    ]
    assert read_curves(write(tmp_path / "m", rows)) == {LOSS: {1: 2.0, 2: 1.5}, ERROR: {2: 9.0}}


def test_lines_that_another_program_wrote_are_read_too(tmp_path):
    (tmp_path / "m").write_text(f'{{"{LOSS}": 2.0,"step":7}}\n{{ "step": 8 , "{LOSS}": 1.0}}\n')
    assert read_curves(tmp_path / "m") == {LOSS: {7: 2.0, 8: 1.0}}


@pytest.mark.parametrize(
    "line",
    [
        '{"step": 2, "train/loss": ',
        '{"step": 2, "train/loss": null}',
        '{"step": 2, "train/loss": "x"}',
        '{"step": 2, "train/loss": NaN}',
        '{"step": true, "train/loss": 1}',
        '["train/loss"]',
        "\x00\xff train/loss",
    ],
)
def test_torn_and_strange_lines_are_passed_over(tmp_path, line):
    (tmp_path / "m").write_text(f'{{"step": 1, "{LOSS}": 2.0}}\n{line}\n{{"step": 3, "{LOSS}": 1.0}}\n')
    assert read_curves(tmp_path / "m") == {LOSS: {1: 2.0, 3: 1.0}}


def test_without_a_readable_file_there_are_no_curves(tmp_path):
    assert read_curves(tmp_path) == read_curves(tmp_path / "absent") == {}


def test_a_long_file_is_thinned_while_rare_values_stay_and_so_does_the_end(tmp_path, monkeypatch):
    parsed = []
    monkeypatch.setattr("tenet.compare.curves._row", lambda line: parsed.append(line) or json.loads(line))
    rows = [
        {"step": step, LOSS: step / 2} | ({ERROR: 1.0} if step % 997 == 0 else {}) for step in range(1, 9974)
    ]
    curves = read_curves(write(tmp_path / "m", rows))
    assert MAX_POINTS / 2 <= len(curves[LOSS]) <= MAX_POINTS + 1
    assert max(curves[LOSS]) == 9973
    assert all(value == step / 2 for step, value in curves[LOSS].items())
    assert len(parsed) < 1500, "lines whose values nobody keeps cost no parsing"
    assert list(curves[ERROR]) == [997 * epoch for epoch in range(1, 11)]


def test_thinned_curves_of_several_seeds_keep_steps_in_common(tmp_path):
    # One seed logs every step and is thinned more than the one that logs every third.
    seeds = [
        read_curves(
            write(tmp_path / str(every), [{"step": step, LOSS: 1.0} for step in range(every, 6001, every)])
        )
        for every in (1, 3)
    ]
    common = mean_curve([seed[LOSS] for seed in seeds])
    assert len(common) > 50
    assert common[-1].step == 6000


def test_a_mean_is_taken_where_all_seeds_have_the_step():
    one, other = {10: 1.0, 20: 5.0}, {10: 3.0, 20: 5.0, 30: 7.0}
    assert mean_curve([one, other]) == [(10, 2, pytest.approx(2**0.5)), (20, 5, 0)]
    assert mean_curve([]) == []


def curve(count, *, deviation=0.5):
    return [Point(step, 4.0 - step / count, deviation) for step in range(count)]


def test_a_curve_is_drawn_inside_its_frame():
    text = curves_svg([[Point(0, 4.0, 0.0), *(Point(step, 1.0, 0.0) for step in range(94, 101))]], title="m")
    # Left edge at the top, right edge at half the height: the axis is a square root.
    assert "M44.0 10.0L" in text
    assert "L426.0 107.0" in text


def test_many_points_have_a_band_and_few_have_bars_at_each():
    band, bars = (curves_svg([curve(count)], title="m") for count in (7, 6))
    assert ("fill-opacity" in band, band.count("<circle")) == (True, 0)
    assert ("fill-opacity" in bars, bars.count("<circle")) == (False, 6)


def test_bars_span_one_deviation_either_way_and_stand_beside_one_another():
    text = curves_svg(
        [[Point(1, 2.0, 1.0)], [Point(1, 4.0, 0.0)]], title="m", along="severity", is_root=False
    )
    # From 4 at the top (10) to 0 at the bottom (204): 1 and 3 at 155.5 and 58.5.
    # Both in the middle, at 235, but for the shift.
    assert re.findall(r'd="M([0-9.]+) 155.5L([0-9.]+) 58.5"', text) == [("233.5", "233.5")]
    assert [float(x) for x in re.findall(r'<circle cx="([0-9.]+)"', text)] == [233.5, 236.5]


@pytest.mark.parametrize(
    ("top", "is_root", "ticks"),
    [
        (72.1, True, ["50", "20", "10", "2", "0"]),
        (2.24, True, ["2", "1", "0.5", "0.2", "0.05", "0"]),
        (16.0, False, ["0", "5", "10", "15"]),
    ],
)
def test_axes_have_round_numbers(top, is_root, ticks):
    text = curves_svg([[Point(0, top, 0.0)]], title="m", is_root=is_root)
    assert re.findall(r'text-anchor="end" dy="4">([^<]+)<', text) == ticks


@pytest.mark.parametrize("value", [0.0, 1e-12, 1e12, -3.0])
def test_values_of_any_size_are_drawn(value):
    assert "<svg" in curves_svg([[Point(0, value, 0.0), Point(5, value, 0.0)]], title="m")
    assert curves_svg([[], []], title="m") == ""
