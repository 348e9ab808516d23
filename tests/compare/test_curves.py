"""Curves: read from metrics files of any length and averaged over seeds."""

import json

import pytest

from tenet.compare.curves import MAX_POINTS, mean_curve, read_curves

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


def test_lines_in_another_json_style_are_read(tmp_path):
    (tmp_path / "m").write_text(f'{{"{LOSS}": 2.0,"step":7}}\n{{ "step" : 8 , "{LOSS}": 1.0}}\n')
    assert read_curves(tmp_path / "m") == {LOSS: {7: 2.0, 8: 1.0}}


@pytest.mark.parametrize("value", [0, -3, 12.5, 1e-05, -2.5e300, 1e16])
def test_numbers_are_read_as_json_writes_them(tmp_path, value):
    for row in ({"step": 1, LOSS: value}, {LOSS: value, "step": 1}):
        assert read_curves(write(tmp_path / "m", [row])) == {LOSS: {1: value}}


@pytest.mark.parametrize(
    "line",
    [
        '{"step": 2, "train/loss": ',
        '{"step": 2, "train/loss": null}',
        '{"step": 2, "train/loss": "x"}',
        '{"step": 2, "train/loss": NaN}',
        '{"step": 2, "train/loss": 1e999}',
        '{"step": 2, "train/loss": 1.',
        '{"step": true, "train/loss": 1}',
        f'{{"step": 1{"0" * 30}, "train/loss": 1}}',
        '["train/loss"]',
        "\x00\xff train/loss",
    ],
)
def test_incomplete_and_invalid_lines_are_skipped(tmp_path, line):
    (tmp_path / "m").write_text(f'{{"step": 1, "{LOSS}": 2.0}}\n{line}\n{{"step": 3, "{LOSS}": 1.0}}\n')
    assert read_curves(tmp_path / "m") == {LOSS: {1: 2.0, 3: 1.0}}


def test_without_a_readable_file_there_are_no_curves(tmp_path):
    assert read_curves(tmp_path) == read_curves(tmp_path / "absent") == {}


def test_a_long_file_is_thinned_but_rare_values_and_the_last_one_are_kept(tmp_path):
    rows = [
        {"step": step, LOSS: step / 2} | ({ERROR: 1.0} if step % 997 == 0 else {}) for step in range(1, 9974)
    ]
    curves = read_curves(write(tmp_path / "m", rows))
    assert MAX_POINTS / 2 <= len(curves[LOSS]) <= MAX_POINTS + 1
    assert max(curves[LOSS]) == 9973
    assert all(value == step / 2 for step, value in curves[LOSS].items())
    assert list(curves[ERROR]) == [997 * epoch for epoch in range(1, 11)]


def test_thinned_curves_of_several_seeds_keep_steps_in_common(tmp_path):
    # The seed that logs every step is thinned more than the seed that logs every third.
    seeds = [
        read_curves(write(tmp_path / str(every), [{"step": s, LOSS: 1.0} for s in range(every, 6001, every)]))
        for every in (1, 3)
    ]
    common = mean_curve([seed[LOSS] for seed in seeds])
    assert len(common) > 50
    assert common[-1].step == 6000


def test_the_mean_is_taken_at_steps_that_all_seeds_have():
    one, other = {10: 1.0, 20: 5.0}, {10: 3.0, 20: 5.0, 30: 7.0}
    assert mean_curve([one, other]) == [(10, 2, 1, 3), (20, 5, 5, 5)], "of two seeds"
    assert mean_curve([]) == []
