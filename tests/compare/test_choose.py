"""Which runs are compared, under which names, and what is said once about all of them."""

import json

import pytest

from tenet.compare.__main__ import main
from tenet.compare.datasets import split_by_data
from tenet.compare.facts import facts
from tenet.compare.groups import compare
from tenet.compare.runs import find_runs, read_run
from tests.compare.folders import PLAIN, TENET, write_pair, write_run

RESNET = {"_target_": "tenet.networks.ResNet", "width": 16}


def read(top):
    return [read_run(folder) for folder in find_runs([str(top)])]


def labels(top):
    return sorted(group.label for group in compare(read(top)).groups)


def printed(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_groups_are_named_by_the_options_that_were_chosen(tmp_path):
    for option, depth in (("resnet8", 8), ("mine", 8)):
        choices = {"backbone": option, "tenet": "inhibition", "experiment": None, "launcher": "serial"}
        write_run(tmp_path / option, seed=0, backbone={**RESNET, "depth": depth}, choices=choices)
    assert labels(tmp_path) == ["backbone=mine", "backbone=resnet8"]


def test_runs_without_recorded_choices_are_named_by_the_option_whose_settings_they_have(tmp_path):
    for depth in (8, 20):
        write_run(tmp_path / str(depth), seed=0, backbone={**RESNET, "depth": depth})
    assert labels(tmp_path) == ["backbone=resnet20", "backbone=resnet8"], "depth follows from the option"
    write_run(tmp_path / "wide", seed=0, backbone={**RESNET, "depth": 8, "width": 32})
    assert labels(tmp_path)[-1] == "backbone=resnet8, width=32"


def test_a_recorded_choice_and_the_same_one_of_an_earlier_version_are_one_group(tmp_path):
    write_run(tmp_path / "old", seed=0)
    write_run(tmp_path / "new", seed=1, choices={"tenet": "inhibition", "experiment": "quickstart"})
    assert len(compare(read(tmp_path)).groups[0].runs) == 2


@pytest.fixture
def mixed(tmp_path):
    """Two groups, a smoke run of each kind, and a trial of a search that was pruned."""
    write_pair(tmp_path)
    debug = write_run(tmp_path / "old-debug", seed=0, mce=None)
    (debug / "environment.json").write_text(json.dumps({"command": "train.py experiment=debug seed=0"}))
    write_run(tmp_path / "debug", seed=0, mce=99, choices={"experiment": "debug"})
    write_run(tmp_path / "short", seed=0, mce=99, trainer={"epochs": 2, "max_steps": 20})
    trial = write_run(tmp_path / "trial", seed=0, lr=0.3, epoch=1, is_saved=False, mce=None)
    (trial / "environment.json").write_text(json.dumps({"search": "strength-1"}))
    write_run(tmp_path / "other-trial", seed=0, mce=50, lr=0.2)
    (tmp_path / "other-trial" / "environment.json").write_text(json.dumps({"search": "strength-1"}))
    return tmp_path


def test_smoke_runs_and_search_trials_are_listed_apart_and_in_no_mean(mixed, capsys):
    text = printed(capsys, mixed, "--format", "markdown")
    assert "| inhibition | 4.00 ± 1.00 | **12.00" not in text  # bold is for LaTeX
    assert "| inhibition | 4.00 ± 1.00 | 12.00 ± 2.00 | 3 |" in text
    debug = f"{mixed / 'debug'}, {mixed / 'old-debug'}"
    assert f"- smoke run (experiment=debug), not compared: {debug}\n".replace("_", r"\_") in text
    assert "- smoke run (trainer.max\\_steps=20), not compared: " in text
    assert "- search trial (search=strength-1), not compared: " in text
    assert "unfinished" not in text, "a pruned trial is no unfinished run"


def test_where_chooses_runs_also_those_that_are_set_apart_else(mixed, capsys):
    text = printed(capsys, mixed, "--where", "search=strength-1", "--format", "markdown")
    assert "| all runs | 4.00 | 50.00 | 1 |" in text
    assert "mean" in printed(capsys, mixed, "--where", "experiment=debug", "--format", "csv")
    text = printed(
        capsys,
        mixed,
        "--where",
        "tenet=none",
        "seed=0,1",
        "--where",
        "trainer.epochs=2.0",
        "--format",
        "markdown",
    )
    assert "| all runs | 4.00 ± 0.00 | 13.00 ± 2.83 | 2 |" in text


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("trainer.epocs=2", "--where trainer.epocs: no run has this key; did you mean trainer.epochs"),
        ("tenet=inhibtion", "--where tenet=inhibtion: no run has this value; tenet is inhibition, none"),
        ("seed", "--where seed: give a value, such as seed=0"),
    ],
)
def test_a_wrong_condition_is_one_line_with_the_nearest_name(tmp_path, capsys, condition, message):
    assert main([str(write_pair(tmp_path)), "--where", condition]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1


def test_group_by_and_columns_choose_what_is_shown_in_the_given_order(tmp_path, capsys):
    for lr in (0.1, 0.2):
        write_run(tmp_path / str(lr), seed=int(lr * 10), lr=lr, mce=10)
    text = printed(
        capsys,
        tmp_path,
        "--group-by",
        "tenet.layer",
        "--columns",
        "mce",
        "test/error_pct",
        "--format",
        "markdown",
    )
    assert "| tenet.layer | mCE, generated, % | test/error\\_pct | seeds |" in text
    assert "runs within one group differ in optimizer.lr" in text
    assert main([str(tmp_path), "--columns", "robst"]) == 1
    assert "--columns robst: no finished run has it; did you mean robust" in capsys.readouterr().err


def test_what_is_the_same_for_all_runs_is_said_once(tmp_path):
    for seed, commit in enumerate(("1f0c5a2b3d", "1f0c5a2b3d")):
        trainer = {"_target_": "tenet.training.settings.TrainingSettings", "epochs": 2, "processes": 1}
        run = write_run(
            tmp_path / str(seed), seed=seed, lr=0.3, tenet={**TENET, "groups": 4}, trainer=trainer
        )
        (run / "environment.json").write_text(
            json.dumps({"git": {"commit": commit, "dirty": False}, "cpu": "AMD EPYC", "threads": seed + 1})
        )
        (run / "train.log").write_text(f"2026-11-{28 + seed} 09:47:54,930 INFO tenet: run folder\n")
    (part,) = split_by_data(read(tmp_path))
    said = dict(facts(compare(part.runs, dataset=part.name)))
    assert said["runs"] == "2 in 1 group, seeds 0, 1"
    assert said["hardware"] == "AMD EPYC, 1 thread (1 run), AMD EPYC, 2 threads (1 run)"
    assert (said["trained"], said["commit"]) == ("2026-11-28 to 2026-11-29", "1f0c5a2b")
    assert (
        said["settings"] == "optimizer=sgd optimizer.lr=0.3 tenet=inhibition tenet.groups=4 trainer.epochs=2"
    )
    other = write_run(tmp_path / "2", seed=2, lr=0.3, tenet=PLAIN)
    (other / "environment.json").write_text(json.dumps({"git": {"commit": "ffff", "dirty": True}}))
    said = dict(facts(compare(read(tmp_path))))
    assert said["commit"] == "1f0c5a2b (2 runs), ffff with uncommitted changes (1 run)"
    assert "tenet" not in said["settings"], "it differs"
