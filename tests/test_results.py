"""results/: records, the tables that are built from them, and the commands that make them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from results import build, subset
from results.experiments import EXPERIMENTS, Experiment
from results.record import record
from tenet.data import Arrays
from tests.compare.folders import PLAIN, measured, write_evaluation, write_run

ROOT = Path(build.__file__).resolve().parents[1]


def test_the_tables_in_the_pages_are_those_of_the_records():
    records = build.read_records()
    for path in build.PAGES:
        text = path.read_text()
        assert build.build(text, records) == text, f"{path}: run python -m results.build"
    assert set(records) <= set(EXPERIMENTS)


def test_every_experiment_has_its_place_in_a_page():
    found = {name for path in build.PAGES for _, name, _ in build.BLOCK.findall(path.read_text())}
    assert found == {*EXPERIMENTS, "missing", "ratios"}


def test_a_subset_has_as_many_images_of_every_class(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["subset", str(tmp_path / "one.npz"), "digits", "--training", "100"])
    subset.main()
    monkeypatch.setattr(
        sys, "argv", ["subset", str(tmp_path / "two.npz"), str(tmp_path / "one.npz"), "--test", "20"]
    )
    subset.main()
    splits = Arrays(path=str(tmp_path / "two.npz")).load()
    assert splits.train.labels.bincount().tolist() == [10] * 10
    assert splits.test.labels.bincount().tolist() == [2] * 10
    assert splits.classes == tuple("0123456789")


def write_environment(folder: Path) -> None:
    git = {"commit": "0123456789", "dirty": False}
    environment = {
        "git": git,
        "cpu": "AMD EPYC",
        "gpu": None,
        "threads": 1,
        "python": "3.12.1",
        "torch": "2.11.0",
    }
    (folder / "environment.json").write_text(json.dumps(environment))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two methods; mCE by seed: 11, 15, 16 plain and 10, 12, 14 with TENET. One run is not evaluated."""
    for seed, (ours, theirs) in enumerate([(10, 11), (12, 15), (14, 16)]):
        write_run(tmp_path / "augmix" / f"inhibition-{seed}", seed=seed, test=3.0 + seed, mce=ours)
        write_run(tmp_path / "augmix" / f"none-{seed}", seed=seed, test=4.0, mce=theirs, tenet=PLAIN)
    write_run(tmp_path / "pgd" / "none-0", seed=0, mce=None, tenet=PLAIN)
    for folder in (tmp_path / "augmix").iterdir():
        own = json.loads((folder / "evaluation" / "corruptions.json").read_text())["mce_pct"]
        write_evaluation(folder, mce=own, measured=measured())
        write_evaluation(
            folder,
            mce=own + 1,
            name="corruptions-other.json",
            measured=measured(test="other", is_own=False, dataset="v6"),
        )
        write_environment(folder)
    return tmp_path


def test_a_record_gives_means_and_paired_differences_with_their_intervals(runs, capsys):
    found = record([str(runs)], command="bash results/methods.sh")
    assert "pgd/none-0: not evaluated" in capsys.readouterr().err
    published = {("augmix", True): (12.31, "arXiv 2103.02152")}
    table = build.runs_table(found, Experiment("", "", ("augmix", "pgd"), published)).splitlines()
    assert table[0] == "| method |  | clean error, % | mCE, generated, % | published mCE, % |"
    # Means 14 and 12, deviations sqrt(7) and 2, differences 1, 3, 2 with deviation 1; t = 4.303 at two degrees of freedom.
    assert table[2] == "| augmix | plain | 4.00 [4.00, 4.00] | 14.00 [7.43, 20.57] |  |"
    assert table[3] == "|  | TENET | 4.00 [1.52, 6.48] | 12.00 [7.03, 16.97] | 12.31 |"
    assert table[4] == "|  | **TENET - plain** | **+0.00 [-2.48, +2.48]** | **-2.00 [-4.48, +0.48]** |  |"
    text = "\n".join(table)
    for said in (
        "Means over seeds 0, 1, 2 with",
        "pgd/none-0",
        "$ bash results/methods.sh",
        "Commit 0123456;",
        "AMD EPYC, 1 thread a run",
    ):
        assert said in text
    assert len(json.dumps(found)) < 4096


def test_two_runs_of_one_method_and_seed_are_refused(runs):
    shutil.copytree(runs / "augmix" / "none-0", runs / "augmix" / "other")
    with pytest.raises(SystemExit, match=r"none-0 and .*other are of one method and seed"):
        record([str(runs)], command="")


def test_a_record_can_be_of_other_test_images(runs):
    found = record([str(runs)], command="", on="v6")
    plain = build.values_of(found, "augmix", tenet=False, column="mCE, generated, %")
    assert plain == {0: 12, 1: 16, 2: 17}


def test_a_record_of_attacks_has_their_columns_before_the_calibration(tmp_path):
    run = write_run(tmp_path / "pgd" / "none-0", seed=0, test=20.0, mce=None, tenet=PLAIN)
    cells = {
        name: {"attack": text, "radius": "8/255", "images": 10, "robust_accuracy_pct": accuracy}
        for name, text, accuracy in (("fgsm-linf-8", "FGSM", 40.0), ("autoattack-linf-8", "AutoAttack", 30.0))
    }
    attacks = {"asked": ["fgsm", "autoattack"], "norm": "linf", "of_test_images": 10, "cells": cells}
    write_evaluation(run, mce=25.0, attacks=attacks, measured=measured())
    write_environment(run)
    (run / "summary.json").write_text(json.dumps({"test/error_pct": 20.0, "test/ece_pct": 3.0}))
    header = build.runs_table(record([str(tmp_path)], command=""), Experiment("", "", ("pgd",))).splitlines()[
        0
    ]
    attacked = "robust accuracy, FGSM, linf 8/255, % | robust accuracy, AutoAttack, linf 8/255, %"
    assert header == f"| method |  | clean error, % | mCE, generated, % | {attacked} | ECE, % |"


def test_without_a_record_the_command_and_its_cost_stand_in_its_place():
    page = "<!-- results: gpu -->\nold\n<!-- /results -->\n<!-- results: missing -->\n<!-- /results -->\n"
    built = build.build(page, {})
    assert (
        "Not measured yet. Cost: eight minutes at most, on one GPU.\n\n```console\n$ bash benchmarks/gpu.sh\n"
        in built
    )
    assert built.count("results/attacks.sh") == 2
    assert "old" not in built


@pytest.mark.parametrize(("script", "attacks"), [("methods.sh", False), ("attacks.sh", True)])
def test_the_commands_train_and_evaluate_every_method_plain_and_with_tenet(tmp_path, script, attacks):
    python = tmp_path / "python"
    python.write_text(
        """#!/bin/sh
echo "$@" >&2
case "$1" in
    train.py) run=${2#hydra.run.dir=}; mkdir -p "$run/evaluation"
        [ -e "$run/weights.safetensors" ] || touch "$run/weights.safetensors" ;;
    evaluate.py) touch "${2#run=}/evaluation/corruptions.json" ;;
esac
"""
    )
    python.chmod(0o755)
    runs = tmp_path / "runs"
    runs.mkdir()
    environment = {
        **os.environ,
        "PYTHON": str(python), "RUNS": str(runs), "SEEDS": "3", "EPOCHS": "4",
        "BACKBONE": "resnet8", "TENET": "tenet.groups=2",
    }  # fmt: skip

    def lines_of_the_command() -> list[str]:
        done = subprocess.run(
            ["bash", ROOT / "results" / script, "dataset=digits", "tracking=none"],
            env=environment, stderr=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        return done.stderr.splitlines()

    lines = lines_of_the_command()
    assert lines[0] == f"-m tenet.corruptions {runs}/cifar10-c dataset=digits"
    trained = [line for line in lines if line.startswith("train.py")]
    evaluated = [line for line in lines if line.startswith("evaluate.py")]
    assert len(trained) == len(evaluated) == (8 if attacks else 10)
    assert all(line.endswith("backbone=resnet8 dataset=digits tracking=none") for line in trained)
    assert sum("tenet=inhibition seed=3 tenet.groups=2" in line for line in trained) == len(trained) / 2
    assert all(("attacks.names=[fgsm,pgd,autoattack]" in line) == attacks for line in evaluated)
    assert lines[-1].startswith("-m results.record")
    assert f"bash results/{script} dataset=digits tracking=none" in lines[-1]
    assert (runs / "record.json").exists()
    assert lines_of_the_command() == [line for line in lines if not line.startswith("evaluate.py")]
