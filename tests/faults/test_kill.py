"""SIGKILL at any moment: starting the same command again ends with the same result."""

import shutil
import signal
from pathlib import Path

import pytest

from tests.faults.commands import STEPS_PER_EPOCH, Command, assert_same_run, figures_of, step_of, train
from tests.faults.kill import end_at_random
from tests.faults.places import Fault


def kill(place: str, count: int = 1) -> Fault:
    return Fault("kill", place, count)


def test_a_run_killed_at_every_critical_point_ends_as_if_never_killed(whole: Path, here: Path) -> None:
    run = here / "run"
    # Checkpoints are due at steps 3, 4, 6, 8, 9, 12; lines at 3, 4 (evaluation), 6, 8 (evaluation), 9, 12, 12.
    for fault, checkpoints in [
        (kill("half checkpoint.pt"), []),
        (kill("named checkpoint-previous.pt"), ["checkpoint-previous.pt"]),
        (kill("inhibited"), ["checkpoint-previous.pt"]),
        (kill("evaluation"), ["checkpoint-previous.pt"]),
        (kill("half metrics.jsonl"), ["checkpoint-previous.pt"]),
        (kill("closing"), ["checkpoint-previous.pt"]),
        (kill("half weights.safetensors"), ["checkpoint-previous.pt", "checkpoint.pt"]),
    ]:
        ended = train(cwd=here, fault=fault)
        assert ended.code == -signal.SIGKILL, f"{fault} was not reached: {ended.output}"
        assert sorted(path.name for path in run.glob("checkpoint*.pt")) == checkpoints, fault
        assert not (run / "weights.safetensors").exists()
    assert list(run.glob(".*.tmp")), "the last kill left a temporary file"
    ended = train(cwd=here)
    assert ended.code == 0, ended.output
    assert_same_run(run, whole)


@pytest.mark.slow
def test_an_extended_run_counts_as_unfinished_until_it_ends_again(whole: Path, tmp_path: Path) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    changed = ("trainer.epochs=4", "trainer.evaluate_every_epochs=2")
    # The schedule ends where it would have ended.
    further = (*changed, "trainer.schedule_epochs=3", f"dataset.path={whole.parent / 'data.npz'}")
    go_on = Command("train", "resume=run", *changed, cwd=tmp_path, fault=kill("weights"))
    assert go_on.wait().code == -signal.SIGKILL
    # The summary of an evaluation of the shorter run's weights.
    (run / "summary.json").write_text('{"corruption/mce_pct": 9.0}')
    ended = train(*further, cwd=tmp_path)
    assert ended.code == 0, ended.output
    assert "has finished already" not in ended.output
    assert "schedule spans 3 epochs and ends at step 12: the steps up to 16 keep its last" in ended.output
    rates = {
        line["step"]: line["train/learning_rate"] for line in figures_of(run) if "train/learning_rate" in line
    }
    assert rates[15] == rates[16] < rates[12]
    assert step_of(run) == 4 * STEPS_PER_EPOCH
    assert "corruption/mce_pct" not in (run / "summary.json").read_text()
    assert "has finished already" in train(*further, cwd=tmp_path).output


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_as_if_never_killed(whole: Path, here: Path) -> None:
    # Checkpoints at other steps and less frequent evaluations change no weight.
    settings = ("trainer.checkpoint_every_minutes=0.0001", "trainer.evaluate_every_epochs=2")
    end_at_random(here, *settings, seed=0, times=2, within_s=0.3)
    run = here / "run"
    assert (run / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    seldom = [line for line in figures_of(whole) if line["step"] != STEPS_PER_EPOCH or "train/loss" in line]
    assert figures_of(run) == seldom


@pytest.mark.slow
def test_a_killed_run_with_dropout_ends_as_if_never_killed(here: Path) -> None:
    arguments = [
        "dataset=arrays", "dataset.path=data.npz", "backbone=wideresnet40", "backbone.depth=10", "backbone.widen_factor=1",
        "backbone.dropout=0.3", "tenet.groups=3", "tenet.interval=2", "tenet.start_step=2", "trainer.batch_size=10",
        "trainer.epochs=2", "trainer.checkpoint_every_steps=1", "trainer.device=cpu", "tracking=none",
    ]  # fmt: skip
    for folder in ("whole", "run"):
        fault = kill("inhibited", 3) if folder == "run" else None
        ended = Command("train", *arguments, f"hydra.run.dir={folder}", cwd=here, fault=fault).wait()
        assert ended.code == (0 if fault is None else -signal.SIGKILL), ended.output
    assert 0 < step_of(here / "run") < 8
    ended = Command("train", *arguments, "hydra.run.dir=run", cwd=here).wait()
    assert ended.code == 0, ended.output
    assert_same_run(here / "run", here / "whole")
