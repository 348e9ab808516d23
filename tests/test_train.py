"""train.py: what a run leaves, how it continues, and what it refuses."""

import json
import shutil
import time

import numpy as np
import pytest
import torch
import yaml

import tenet
from tenet.config.run_config import read_config
from tenet.run.metrics_file import read_metrics
from tenet.training.checkpoint import Checkpoints
from tests.entry_points import TINY, call, train
from tests.faults.commands import Command, wait_for
from tests.faults.places import Fault

KILLED = -9


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a finished run in `run`, and the output of the command."""
    folder = tmp_path_factory.mktemp("trained")
    return folder / "run", train(*TINY, "hydra.run.dir=run", cwd=folder).output


def test_a_run_folder_holds_all_that_the_run_was(trained):
    run, output = trained
    assert {path.name for path in run.iterdir()} >= {
        "config.yaml", "metrics.jsonl", "summary.json", "checkpoint.pt", "weights.safetensors", "train.log",
    }  # fmt: skip
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["tenet"]["groups"] == 3
    assert config["seed"] == 0
    metrics = read_metrics(run / "metrics.jsonl")
    assert {"train/loss", "train/error_pct", "train/loss_inhibited", "train/loss_orthogonality", "train/learning_rate",
            "speed/images_per_s"} <= set(metrics[-2])  # fmt: skip
    assert metrics[-1]["step"] == 27
    summary = json.loads((run / "summary.json").read_text())
    assert summary["test/error_pct"] == metrics[-1]["test/error_pct"]
    assert f"test error {summary['test/error_pct']:.2f} %" in output
    # The weights alone say what the network is.
    assert len(tenet.load(run / "weights.safetensors").interface["classes"]) == 10
    # No terminal: plain lines with epoch, loss, error, speed and time left.
    line = next(line for line in output.splitlines() if "step 27/27" in line)
    for part in ("epoch 3/3", "loss ", "error ", "images/s", "0:00:00 left"):
        assert part in line


def test_a_killed_run_resumes_to_the_very_same_weights_and_metrics(trained, tmp_path):
    whole, _ = trained
    run = tmp_path / "run"
    train(
        *TINY, f"hydra.run.dir={run}", cwd=tmp_path, fault=Fault("kill", "named checkpoint.pt"), code=KILLED
    )
    assert (run / "checkpoint.pt").exists()
    assert not (run / "weights.safetensors").exists()
    train(f"resume={run}", cwd=tmp_path)
    assert (run / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    lines = [
        [
            {k: v for k, v in line.items() if not k.startswith("speed/")}
            for line in read_metrics(folder / "metrics.jsonl")
        ]
        for folder in (run, whole)
    ]
    assert lines[0] == lines[1]


def test_resuming_a_finished_run_says_so_and_changes_nothing(trained):
    run, _ = trained
    before = (run / "weights.safetensors").read_bytes()
    assert "had finished already" in train(f"resume={run}", cwd=run.parent).output
    assert (run / "weights.safetensors").read_bytes() == before


def test_a_resumed_run_that_is_refused_leaves_the_finished_one_as_it_was(trained, tmp_path):
    run = shutil.copytree(trained[0], tmp_path / "run")
    saved = torch.load(run / "checkpoint.pt")
    checkpoints = Checkpoints(run, run=saved["run"], data=saved["data"])
    content = checkpoints.load()
    content["model"].popitem()
    checkpoints.save(content)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.suffix != ".log"}
    refused = train(f"resume={run}", "trainer.epochs=9", cwd=tmp_path, code=1)
    assert "does not fit this configuration" in refused.output
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.alone
def test_a_multirun_trains_every_combination_and_again_only_what_is_missing(tmp_path):
    arguments = [*TINY, "trainer.max_steps=2", "-m", "tenet.groups=2,3", "seed=0,1", "hydra.sweep.dir=sweep"]
    call("train.py", *arguments, cwd=tmp_path)
    runs = [path.parent for path in (tmp_path / "sweep").glob("*/weights.safetensors")]
    configs = [yaml.safe_load((run / "config.yaml").read_text()) for run in runs]
    assert sorted((c["tenet"]["groups"], c["seed"]) for c in configs) == [(2, 0), (2, 1), (3, 0), (3, 1)]
    written = {run: (run / "weights.safetensors").stat().st_mtime_ns for run in runs}
    lost = runs[2]
    shutil.rmtree(lost)
    done = call("train.py", *arguments, cwd=tmp_path)
    assert done.stdout.count("has finished already") == 3
    again = {run: (run / "weights.safetensors").stat().st_mtime_ns for run in runs}
    assert [run for run in runs if again[run] != written[run]] == [lost]


@pytest.mark.slow
def test_plain_training_has_no_inhibited_steps(tmp_path):
    arguments = [argument for argument in TINY if not argument.startswith("tenet.")]
    train(*arguments, "tenet=none", "trainer.epochs=1", "hydra.run.dir=run", cwd=tmp_path)
    metrics = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert "train/loss" in metrics[0]
    assert not any("train/loss_inhibited" in line for line in metrics)


def test_a_non_finite_loss_ends_in_one_line_and_exit_code_1(tmp_path):
    done = train(*TINY, "optimizer.lr=1e6", "hydra.run.dir=run", cwd=tmp_path, code=1)
    last = done.output.strip().splitlines()[-1]
    assert last.startswith("error: step ")
    assert "learning rate " in last
    assert "Last good checkpoint: none yet" in last
    assert "Traceback" not in done.output


def test_the_same_command_again_gives_the_result_and_another_one_is_refused(trained):
    run, _ = trained
    before = (run / "weights.safetensors").stat().st_mtime_ns
    again = train(*TINY, f"hydra.run.dir={run}", "tracking.mode=offline", "tracking=wandb", cwd=run.parent)
    error = json.loads((run / "summary.json").read_text())["test/error_pct"]
    assert f"has finished already: test error {error:.2f} %" in again.output
    other = train(*TINY, "seed=1", f"hydra.run.dir={run}", cwd=run.parent, code=1)
    assert "holds a run of another configuration or version (seed is 0 there, not 1)" in other.output
    assert (run / "weights.safetensors").stat().st_mtime_ns == before


def test_a_resumed_run_keeps_its_folder(trained, tmp_path):
    run, _ = trained
    refused = train(
        f"resume={run}", "trainer.epochs=4", f"hydra.run.dir={tmp_path / 'other'}", cwd=tmp_path, code=2
    )
    assert "error: hydra.run.dir: a resumed run keeps its folder; leave it out" in refused.output
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_an_interrupted_run_continues_by_its_command_while_no_other_process_holds_it(trained, tmp_path):
    whole, _ = trained
    first = Command("train", *TINY, cwd=tmp_path, fault=Fault("sleep", "named checkpoint.pt"))
    wait_for((tmp_path / "asleep").exists)
    assert "another process is working in" in train(*TINY, cwd=tmp_path, code=1).output
    first.send(9)
    assert first.wait().code == KILLED
    assert "continuing runs/digits-resnet8-" in train(*TINY, cwd=tmp_path).output
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("digits-resnet8-inhibition-seed0-")
    assert (run / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    # With rerun=true the old run is kept.
    short = train(*TINY, "rerun=true", "trainer.max_steps=1", cwd=tmp_path).output
    assert len(list((tmp_path / "runs").glob("*/weights.safetensors"))) == 2
    again = train(*TINY, "trainer.max_steps=1", cwd=tmp_path).output
    assert (
        "finished at step 1 of 27; to continue beyond trainer.max_steps: python train.py resume=runs/"
        in short
    )
    assert "has finished already: test error " in again
    assert "; to continue beyond trainer.max_steps: python train.py resume=runs/" in again


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tenet.group=4"], "there is no key tenet.group; did you mean tenet.groups"),
        (["dataset=cifar1000"], "dataset=cifar1000: no such option; did you mean cifar100"),
        (["tenet.groups=zero"], "tenet.groups=zero: must be an integer of at least 1"),
    ],
)
def test_a_wrong_command_fails_within_three_seconds_naming_the_right_one(tmp_path, arguments, message):
    start = time.monotonic()
    done = call("train.py", *arguments, cwd=tmp_path, fails=True)
    assert time.monotonic() - start < 3
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tenet.groups=700"], "tenet.groups=700 exceeds the 512 channels at layer stage_2"),
        (["trainer.device=cuda"], "no CUDA device"),
        (["dataset=arrays", "dataset.path=nowhere.npz"], "nowhere.npz is not a file"),
    ],
)
def test_what_only_torch_can_tell_is_refused_in_one_line_too(tmp_path, arguments, message):
    if "cuda" in arguments[0] and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    done = train(*arguments, cwd=tmp_path, code=1)
    assert message in done.output.strip().splitlines()[-1]
    assert "Traceback" not in done.output


def test_help_is_for_people_and_cfg_prints_the_configuration(tmp_path):
    text = train("--help", cwd=tmp_path).output
    for part in (
        "usage: python train.py",
        "dataset: arrays, cifar10, cifar100, cub200, digits",
        "-m tenet.groups=2,4",
        "start_step: 500",
    ):
        assert part in text
    printed = train("tenet.groups=4", "--cfg", "job", cwd=tmp_path).output
    assert yaml.safe_load(printed)["tenet"]["groups"] == 4


@pytest.mark.slow
def test_relative_paths_belong_to_the_folder_that_the_command_was_started_in(tmp_path):
    images = np.random.default_rng(0).integers(256, size=(64, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(64) % 4
    parts = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    np.savez(tmp_path / "own.npz", **parts)
    own = ["dataset=arrays", "dataset.path=own.npz", "trainer.max_steps=1", "dataset.fraction=1.0"]
    train(*TINY, *own, "hydra.job.chdir=true", "hydra.run.dir=run", cwd=tmp_path)
    train("resume=run", "hydra.job.chdir=true", "trainer.max_steps=2", cwd=tmp_path)
    train("-m", "seed=0,1", *TINY, *own, "hydra.job.chdir=true", cwd=tmp_path)
    assert len(list((tmp_path / "runs").glob("arrays-*"))) == 2
    assert read_config(tmp_path / "run")["dataset"]["path"] == str(tmp_path / "own.npz")
