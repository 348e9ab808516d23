"""Groups, their figures checked by hand, and paired differences."""

import json

import numpy as np
import pytest

from tenet.compare.groups import compare
from tenet.compare.keys import differing_keys, short_label
from tenet.compare.runs import CompareError, find_runs, read_run
from tenet.compare.spread import paired_difference
from tests.compare.folders import PLAIN, TENET, write_evaluation, write_pair, write_run

GENERATED = "mCE, generated, %"


def read(top):
    return [read_run(folder) for folder in find_runs([str(top)])]


def test_groups_differ_by_the_class_and_not_by_keys_that_follow_from_it(tmp_path):
    comparison = compare(read(write_pair(tmp_path)))
    assert comparison.keys == ("tenet",)
    assert [group.values for group in comparison.groups] == [("inhibition",), ("none",)]


def test_mean_and_sample_deviation_match_a_computation_by_hand(tmp_path):
    ours, theirs = compare(read(write_pair(tmp_path))).groups
    assert ours.spread(GENERATED) == (12, 2, 3)
    # 11, 15, 16: mean 14, squares 9 + 1 + 4, over 2.
    assert theirs.spread(GENERATED) == (14, pytest.approx(7**0.5), 3)
    assert ours.spread("test error, %") == (4, 1, 3)


def test_a_single_seed_has_no_deviation(tmp_path):
    write_run(tmp_path, seed=0, mce=7)
    assert compare(read(tmp_path)).groups[0].spread(GENERATED) == (7, None, 1)


def test_two_settings_changed_together_are_both_shown():
    configs = [{"lr": 0.1, "batch": 64, "seed": 0}, {"lr": 0.2, "batch": 128, "seed": 1}]
    assert differing_keys(configs) == ("lr", "batch")


def test_a_key_that_varies_within_a_class_is_shown():
    configs = [{"tenet": "a", "tenet.groups": 4}, {"tenet": "a", "tenet.groups": 6}, {"tenet": "none"}]
    assert differing_keys(configs) == ("tenet", "tenet.groups")
    # Only one run of the class has the key, such as a run of another version.
    configs = [{"tenet": "a", "tenet.x": 1}, {"tenet": "a"}, {"tenet": "none"}]
    assert differing_keys(configs) == ("tenet", "tenet.x")


def test_a_setting_that_changes_with_the_class_is_shown():
    configs = [
        {"optimizer": "a", "optimizer.lr": 0.1},
        {"optimizer": "b", "optimizer.lr": 0.2},
    ]
    assert differing_keys(configs) == ("optimizer", "optimizer.lr")


def test_seed_tracking_and_hardware_do_not_separate_groups():
    configs = [
        {"seed": seed, "tracking.name": name, "trainer.device": name, "resume": name, "rerun": name}
        for seed, name in enumerate("ab")
    ]
    assert differing_keys(configs) == ()
    assert differing_keys([{"a": 1.0}, {"a": 1}]) == ()


def test_the_lowest_mce_comes_first_and_a_group_without_one_last(tmp_path):
    for name, mce in (("a", 20), ("b", None), ("c", 5)):
        write_run(tmp_path / name, seed=0, mce=mce, lr=ord(name) / 100, test=ord("d") - ord(name))
    runs = read(tmp_path)

    def order(sort):
        return [group.runs[0].folder.name for group in compare(runs, sort=sort).groups]

    assert order("mce") == ["c", "a", "b"]
    assert order("test") == ["c", "b", "a"]
    assert order("name") == ["a", "b", "c"]


def test_official_figures_come_before_generated_ones_in_columns_and_order(tmp_path):
    for name, generated, official in (("a", 1, 9), ("b", 2, 8)):
        write_evaluation(
            write_run(tmp_path / name, seed=0, mce=generated, lr=ord(name)), mce=official, source="files"
        )
    comparison = compare(read(tmp_path))
    assert comparison.columns == ("test error, %", "mCE, official files, %", GENERATED)
    assert [group.runs[0].folder.name for group in comparison.groups] == ["b", "a"]


def test_runs_on_different_corruptions_are_never_paired(tmp_path):
    write_run(tmp_path / "a", seed=0, mce=1)
    write_run(tmp_path / "b", seed=0, mce=2, tenet=PLAIN, source="files")
    comparison = compare(read(tmp_path))
    other = next(group for group in comparison.groups if group not in comparison.baselines)
    assert [comparison.difference(other, column).pairs for column in comparison.columns] == [1, 0, 0]


def test_differences_pair_equal_seeds_and_skip_the_others():
    found = paired_difference(
        {0: 10.0, 1: 12.0, 2: 14.0, 7: 99.0},
        baseline={2: 16.0, 1: 15.0, 0: 11.0, 8: 0.0},
    )
    assert found.pairs == 3
    assert found.mean == pytest.approx(-2)  # of -1, -3, -2
    # Deviation 1, standard error 1 / sqrt(3), 4.3027 of them: the table's value for two degrees of freedom.
    assert found.interval == pytest.approx((-2 - 4.3027 / 3**0.5, -2 + 4.3027 / 3**0.5), abs=1e-4)


@pytest.mark.parametrize("pairs", [3, 5, 10])
def test_the_interval_covers_the_true_difference_in_95_of_100_comparisons(pairs):
    comparisons, true, generator = 4000, -0.8, np.random.default_rng(pairs)
    covered = 0
    for _ in range(comparisons):
        # Seeds move both sides together; their difference has a deviation of its own.
        shared = generator.normal(6, 1.2, size=pairs)
        ours = shared + true + generator.normal(0, 0.7, size=pairs)
        low, high = paired_difference(dict(enumerate(ours)), baseline=dict(enumerate(shared))).interval
        covered += low <= true <= high
    assert 100 * covered / comparisons == pytest.approx(95, abs=1.5)


@pytest.mark.parametrize("pairs", [0, 1, 2])
def test_fewer_than_three_pairs_have_no_interval(pairs):
    values = {seed: float(seed) for seed in range(pairs)}
    found = paired_difference(values, baseline={0: 0.0, 1: 0.0})
    assert (found.interval, found.pairs) == (None, pairs)
    assert found.mean == (None if pairs == 0 else (pairs - 1) / 2)


def test_the_baseline_can_be_chosen_by_value(tmp_path):
    runs = read(write_pair(tmp_path))
    assert [base.values for base in compare(runs).baselines] == [("inhibition",)]
    assert [base.values for base in compare(runs, baseline=["tenet=none"]).baselines] == [("none",)]


def test_a_baseline_that_is_not_one_group_is_refused(tmp_path):
    runs = read(write_pair(tmp_path))
    with pytest.raises(CompareError, match=r"tenet=non: no group matches; tenet is none, inhibition$"):
        compare(runs, baseline=["tenet=non"])
    with pytest.raises(
        CompareError, match=r"no group matches; tenet is (inhibition, none|none, inhibition)$"
    ):
        compare(runs, baseline=["tenet=x"])
    with pytest.raises(CompareError, match=r"the groups differ by tenet"):
        compare(runs, baseline=["optimizer.lr=0.1"])


def test_a_baseline_of_many_groups_is_refused_in_a_short_message(tmp_path):
    for index in range(50):
        write_run(tmp_path / str(index), seed=0, tenet={**TENET, "groups": index, "weight": index / 10})
    write_run(tmp_path / "plain", seed=0, tenet=PLAIN)
    with pytest.raises(
        CompareError, match=r"50 groups match; add KEY=VALUE, such as tenet.groups=0"
    ) as caught:
        compare(read(tmp_path), baseline=["tenet=inhibition"], sort="name")
    assert len(str(caught.value)) < 200
    with pytest.raises(CompareError) as caught:
        compare(read(tmp_path), baseline=["tenet.groups=x"])
    assert len(str(caught.value)) < 200


def test_a_seed_twice_in_a_group_is_refused_with_both_folders(tmp_path):
    for name in ("one", "two"):
        write_run(tmp_path / name, seed=4, dataset={"_target_": "tenet.data.Digits", "root": name})
    with pytest.raises(CompareError, match=r"seed 4 twice.*/one and .*/two"):
        compare(read(tmp_path))


def test_of_several_runs_of_one_configuration_the_evaluated_one_is_compared(tmp_path):
    for name, mce in (("a", None), ("b", 7), ("c", 9)):
        write_run(tmp_path / name, seed=0, mce=mce, tracking={"name": name}, resume=name)
    comparison = compare(read(tmp_path))
    assert comparison.groups[0].spread(GENERATED) == (7, None, 1)
    problems = {run.folder.name: run.problem for run in comparison.problems}
    same = f"the same configuration as {tmp_path / 'b'}, which is compared"
    assert problems == {"a": same, "c": same}


def test_of_several_runs_of_one_configuration_without_evaluation_the_first_is_compared(tmp_path):
    for name in "ab":
        write_run(tmp_path / name, seed=0, mce=None)
    assert [run.folder.name for run in compare(read(tmp_path)).groups[0].runs] == ["a"]


def test_values_have_four_digits_unless_they_would_look_alike(tmp_path):
    for index, weight in enumerate((0.123456789, 2 / 3)):
        tenet = {**TENET, "weight": weight, "eps": 0.1234567 + index * 1e-7, "start_step": 123456 + index}
        write_run(tmp_path / str(index), seed=0, tenet=tenet, mce=index)
    comparison = compare(read(tmp_path))
    assert comparison.keys == ("tenet.eps", "tenet.start_step", "tenet.weight")
    shown = [group.short_values for group in comparison.groups]
    assert shown == [("0.1234567", "123456", "0.1235"), ("0.1234568", "123457", "0.6667")]
    assert comparison.groups[0].values[-1] == "0.123456789"


def test_an_unfinished_run_takes_no_seed_and_adds_no_figures(tmp_path):
    write_run(tmp_path / "whole", seed=0, mce=10)
    write_run(tmp_path / "cut", seed=0, mce=99, epoch=1, lr=5.0)
    comparison = compare(read(tmp_path))
    assert comparison.keys == ()
    assert comparison.groups[0].spread(GENERATED).mean == 10
    assert [run.folder.name for run in comparison.problems] == ["cut"]


def test_nothing_finished_is_refused_with_the_reasons(tmp_path):
    write_run(tmp_path, seed=0, is_saved=False)
    with pytest.raises(CompareError, match=r"no finished run.*no weights"):
        compare(read(tmp_path))


def test_grouping_by_chosen_keys_lists_other_keys_that_differ_within_a_group(tmp_path):
    for seed, lr in enumerate((0.1, 0.2)):
        write_run(tmp_path / str(seed), seed=seed, lr=lr)
    comparison = compare(read(tmp_path), by=["tenet.layer"])
    assert [group.values for group in comparison.groups] == [("stage_2",)]
    assert comparison.mixed_keys == ["optimizer.lr"]
    with pytest.raises(CompareError, match=r"--group-by tenet\.layr: no run has this key"):
        compare(read(tmp_path), by=["tenet.layr"])


def test_plain_runs_have_the_key_columns_of_a_sweep(tmp_path):
    for groups in (2, 10):
        write_run(tmp_path / str(groups), seed=0, mce=10, tenet={**TENET, "groups": groups})
    # An experiment's settings for the method stay in the configuration of its plain runs.
    write_run(tmp_path / "plain", seed=0, mce=20, tenet={**PLAIN, "start_step": 50})
    comparison = compare(read(tmp_path), sort="name")
    assert comparison.keys == ("tenet", "tenet.groups")
    values = [group.values for group in comparison.groups]
    assert values == [("inhibition", "2"), ("inhibition", "10"), ("none", "-")]
    assert [group.label for group in comparison.groups][1:] == [
        "tenet=inhibition, groups=10",
        "tenet=none",
    ]


def test_labels_keep_the_whole_key_if_its_last_part_is_ambiguous():
    keys = ("augment.width", "backbone.width", "optimizer.lr")
    assert short_label(keys, ("3", "16", "0.1")) == "augment.width=3, backbone.width=16, lr=0.1"


def test_a_metric_of_the_summary_is_a_column_and_can_be_sorted_by(tmp_path):
    for name, speed in (("a", 300.0), ("b", 200.0), ("c", 100.0)):
        run = write_run(tmp_path / name, seed=0, mce=ord(name), lr=ord(name) / 100)
        (run / "summary.json").write_text(json.dumps({"speed/images_per_s": speed}))
    comparison = compare(read(tmp_path), metrics=["speed/images_per_s"], sort="speed/images_per_s")
    assert comparison.columns == ("test error, %", GENERATED, "speed/images_per_s")
    assert [group.runs[0].folder.name for group in comparison.groups] == ["a", "b", "c"], "the fastest first"
    assert comparison.groups[0].spread("speed/images_per_s") == (300, None, 1)


def test_a_metric_under_corruption_has_a_column_for_each_source(tmp_path):
    earlier = {"corruption/fog/error_pct": 9.0, "corruption/source": "generated"}
    summaries = {
        "a": {"corruption/fog/error_pct": 9.0},
        "b": {"corruption_generated/fog/error_pct": 9.0},
        "c": earlier,
    }
    for name, summary in summaries.items():
        run = write_run(tmp_path / name, seed=0, lr=ord(name) / 100)
        (run / "summary.json").write_text(json.dumps(summary))
    metrics = ["corruption/fog/error_pct", "corruption_generated/fog/error_pct"]
    comparison = compare(read(tmp_path), metrics=metrics)
    columns = (f"{metrics[0]}, official files", f"{metrics[1]}, generated")
    assert comparison.columns[-2:] == columns
    spreads = {group.runs[0].folder.name: group.spread(columns[1]) for group in comparison.groups}
    assert [spreads[name] is not None for name in "abc"] == [False, True, True]


def test_unknown_metrics_and_orders_are_refused_with_the_nearest_name(tmp_path):
    write_run(tmp_path, seed=0)
    with pytest.raises(CompareError, match=r"--metrics test/eror_pct: .*did you mean test/error_pct"):
        compare(read(tmp_path), metrics=["test/eror_pct"])
    with pytest.raises(CompareError, match=r"--sort train/loss: no column shows it; add it to --columns"):
        compare(read(tmp_path), sort="train/loss")


def test_a_run_that_was_set_aside_by_a_rerun_is_left_out_with_the_reason(tmp_path):
    write_run(tmp_path / "run", seed=0, mce=10)
    write_run(tmp_path / "run-before-20260102-030405-123456", seed=0, mce=99)
    comparison = compare(read(tmp_path))
    assert comparison.groups[0].spread(GENERATED) == (10, None, 1)
    (aside,) = comparison.problems
    assert aside.folder.name == "run-before-20260102-030405-123456"
    assert aside.problem == "set aside by rerun=true; the newer run is compared"


def test_a_run_that_was_set_aside_is_compared_if_the_newer_run_is_unfinished(tmp_path):
    write_run(tmp_path / "run", seed=0, epoch=1)
    write_run(tmp_path / "run-before-20260102-030405", seed=0, mce=99)
    assert compare(read(tmp_path)).groups[0].spread(GENERATED) == (99, None, 1)


def test_the_message_about_many_broken_runs_stays_short(tmp_path):
    for index in range(9):
        write_run(tmp_path / str(index), seed=index, is_saved=False)
    with pytest.raises(CompareError, match=r"no finished run.*; and 6 more\)$"):
        compare(read(tmp_path))
