"""Reading run folders, and recognising unfinished and unevaluated runs."""

import hashlib
import json

import pytest

from tenet.compare.evaluations import mce_column
from tenet.compare.runs import CompareError, find_runs, read_run
from tests.compare.folders import write_evaluation, write_run

TEST, GENERATED, OFFICIAL = "test error, %", "mCE, generated, %", "mCE, official files, %"


def test_run_folders_are_found_below_a_folder_and_by_pattern_each_once_in_natural_order(tmp_path):
    folders = [write_run(tmp_path / "sweep" / name, seed=0) for name in ("2", "10")]
    assert find_runs([str(tmp_path)]) == folders
    assert find_runs([str(tmp_path / "sweep" / "*"), str(folders[0])]) == folders


def test_the_folders_of_trackers_and_hydra_are_not_run_folders(tmp_path):
    run = write_run(tmp_path / "0", seed=0)
    for inner in (run / "wandb" / "files", tmp_path / "wandb" / "files", tmp_path / "refused" / ".hydra"):
        inner.mkdir(parents=True)
        (inner / "config.yaml").write_text("a: 1")
    assert find_runs([str(tmp_path)]) == [run]


def test_a_place_without_run_folders_is_refused_by_name(tmp_path):
    with pytest.raises(CompareError, match=r"no-such.*no run folder"):
        find_runs([str(tmp_path / "no-such*")])


def test_figures_are_the_test_error_of_the_summary_and_the_mce_of_the_evaluation(tmp_path):
    run = read_run(write_run(tmp_path, seed=3, test=4.25, mce=12.5))
    assert run.is_finished
    assert run.problem == ""
    assert run.seed == 3
    assert run.figures == {TEST: 4.25, GENERATED: 12.5, "test/error_pct": 4.25}
    assert run.cells[GENERATED]["fog"][5] == 12.5
    assert run.config["tenet.groups"] == 6


def test_without_a_summary_the_clean_error_of_the_evaluation_is_used(tmp_path):
    (write_run(tmp_path, seed=0) / "summary.json").unlink()
    assert read_run(tmp_path).figures[TEST] == 5.5


def test_generated_official_and_relative_errors_have_separate_columns(tmp_path):
    write_run(tmp_path, seed=0, mce=12)
    write_evaluation(tmp_path, mce=9, source="files")
    figures = read_run(tmp_path).figures
    assert (figures[GENERATED], figures[OFFICIAL]) == (12, 9)
    relative = {
        "source": "files",
        "mce_definition": "mean over 15 corruptions of the error relative to AlexNet's",
    }
    assert mce_column(relative) == "mCE, official files, relative to AlexNet, %"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"epoch": 1.5}, "unfinished: stopped at epoch 1.5 of 2"),
        ({"is_saved": False}, "unfinished: no weights.safetensors"),
        ({"mce": None}, "not evaluated"),
    ],
)
def test_an_unfinished_or_unevaluated_run_has_a_problem(tmp_path, change, problem):
    run = read_run(write_run(tmp_path, seed=0, **change))
    assert run.problem == problem
    assert run.is_finished == (problem == "not evaluated")


def test_a_run_that_reached_max_steps_is_finished(tmp_path):
    trainer = {"epochs": 2, "max_steps": 20}
    assert read_run(write_run(tmp_path, seed=0, epoch=0.5, trainer=trainer)).is_finished
    trainer["max_steps"] = 21
    assert not read_run(write_run(tmp_path, seed=0, epoch=0.5, trainer=trainer)).is_finished


def test_the_end_of_a_long_or_torn_metrics_file_is_found(tmp_path):
    metrics = write_run(tmp_path, seed=0) / "metrics.jsonl"
    rows = [{"step": step, "epoch": step / 4000, "note": "x" * 40} for step in range(1, 8001)]
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 9000, "epo')
    assert read_run(tmp_path).is_finished
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows[:7000]))
    assert read_run(tmp_path).problem == "unfinished: stopped at epoch 1.75 of 2"


def test_a_partial_evaluation_has_no_mce(tmp_path):
    write_evaluation(write_run(tmp_path, seed=0, mce=None), mce=None, name="corruptions-part.json")
    assert read_run(tmp_path).problem == "not evaluated; corruptions-part.json has no mCE"
    write_evaluation(tmp_path, mce=7)
    assert read_run(tmp_path).problem == ""


def test_a_second_evaluation_of_the_same_kind_is_left_out_with_the_reason(tmp_path):
    write_evaluation(write_run(tmp_path, seed=0, mce=12), mce=99, name="corruptions-bf16.json")
    run = read_run(tmp_path)
    assert run.figures[GENERATED] == 12
    assert run.problem == "corruptions-bf16.json is left out: a second mCE, generated, %"


def test_an_evaluation_of_other_weights_is_out_of_date_and_not_used(tmp_path):
    run = write_run(tmp_path, seed=0, mce=None)
    (run / "weights.safetensors").write_bytes(b"one epoch")
    digest = hashlib.sha256(b"one epoch").hexdigest()
    write_evaluation(run, mce=12, weights_sha256=digest)
    assert read_run(run).figures[GENERATED] == 12
    assert read_run(run).problem == ""
    (run / "weights.safetensors").write_bytes(b"two epochs")
    (run / "summary.json").unlink()
    stale = read_run(run)
    assert (stale.figures, stale.cells) == ({}, {})
    reason = "corruptions.json is out of date: the run was trained further after it; evaluate again"
    assert stale.problem == f"not evaluated; {reason}"
    write_evaluation(run, mce=9, source="files", weights_sha256=hashlib.sha256(b"two epochs").hexdigest())
    assert read_run(run).figures == {TEST: 5.5, OFFICIAL: 9}
    assert read_run(run).problem == reason


@pytest.mark.parametrize("text", ["a: [", "- 1", "seed: true", "seed: x", "\x00", ""])
def test_a_broken_configuration_is_a_problem_and_not_a_crash(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    run = read_run(tmp_path)
    assert not run.is_finished
    assert "config.yaml" in run.problem


@pytest.mark.parametrize("report", ['{"mce_pct": "NaN"}', '{"mce_pct": NaN}', "[]", "{", '{"clean": 3}'])
def test_a_broken_evaluation_counts_as_not_evaluated(tmp_path, report):
    write_run(tmp_path, seed=0)
    (tmp_path / "evaluation" / "corruptions.json").write_text(report)
    assert read_run(tmp_path).problem.startswith("not evaluated")


def test_a_folder_that_cannot_be_read_is_a_problem_and_not_a_crash(tmp_path):
    write_run(tmp_path, seed=0)
    (tmp_path / "summary.json").unlink()
    (tmp_path / "summary.json").mkdir()
    run = read_run(tmp_path)
    assert not run.is_finished
    assert run.problem.startswith("can't be read (")


def test_a_group_that_is_off_has_no_settings(tmp_path):
    write_run(tmp_path, seed=0, tenet={"_target_": None, "start_step": 50})
    config = read_run(tmp_path).config
    assert config["tenet"] == "none"
    assert "tenet.start_step" not in config
