"""The run folder as train.py would find it, the disk, and its locks."""

import errno
import fcntl
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tenet.config.run_config import write_config
from tenet.doctor import storage
from tenet.doctor.__main__ import make_parser, make_plan
from tenet.doctor.findings import examine
from tenet.files.json import write_json
from tenet.run.folder import RunFolder
from tenet.run.origin import fingerprints, stamp, write_origin
from tenet.training.checkpoint import Checkpoints
from tests.doctor.plans import plan_in


def test_a_new_run_folder_is_not_made(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    found = storage.check_run_folder(plan)
    assert (found.status, found.figures["state"]) == ("ok", "new")
    assert list(storage.check(plan))[-1].status == "ok"
    assert list(tmp_path.iterdir()) == []
    plan.run_dir.mkdir()
    assert storage.check_run_folder(plan).figures["state"] == "new", "there is nothing in it to continue"


def test_an_interrupted_run_continues_from_its_checkpoint(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    write_config(plan.config, plan.run_dir / "config.yaml")
    Checkpoints(plan.run_dir).save({"step": 7})
    assert "it continues from step 7" in storage.check_run_folder(plan).what
    assert plan.steps_done == 7


def test_a_damaged_checkpoint_is_a_problem(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    write_config(plan.config, plan.run_dir / "config.yaml")
    (plan.run_dir / "checkpoint.pt").write_bytes(b"torn")
    found = examine("storage", lambda plan: [storage.check_run_folder(plan)], plan).findings[0]
    assert found.status == "problem"
    assert str(plan.run_dir / "checkpoint.pt") in found.what


def test_a_finished_run_is_reported_with_its_result(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    write_config(plan.config, plan.run_dir / "config.yaml")
    (plan.run_dir / "weights.safetensors").write_bytes(b"")
    write_json(plan.run_dir / "summary.json", {"test/error_pct": 4.5})
    data = fingerprints(plan.experiment.splits)
    write_origin(plan.run_dir, plan.config, data=data, files=stamp(plan.experiment.dataset.files()))
    found = storage.check_run_folder(plan)
    assert (found.status, found.remedy) == ("warning", "rerun=true starts again")
    assert "an error of 4.50 %" in found.what
    assert storage.check_run_folder(plan_in(tmp_path, "rerun=true")).status == "ok"
    resumed = make_plan(make_parser().parse_args([f"resume={plan.run_dir}"]))
    assert resumed.run_dir == plan.run_dir
    assert storage.check_run_folder(resumed).figures["state"] == "interrupted"


def test_a_folder_of_another_run_is_a_problem(tmp_path: Path) -> None:
    write_config(plan_in(tmp_path, "seed=1").config, tmp_path / "run" / "config.yaml")
    found = storage.check_run_folder(plan_in(tmp_path))
    assert found.status == "problem"
    assert "another configuration" in found.what


def test_a_folder_of_something_else_is_a_problem(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    plan.run_dir.mkdir()
    (plan.run_dir / "weights.safetensors").write_bytes(b"of others")
    found = storage.check_run_folder(plan)
    assert (found.status, found.figures["state"]) == ("problem", "other")
    assert "weights.safetensors" in found.what


def test_a_run_in_progress_is_a_problem(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    with RunFolder(plan.run_dir):
        write_config(plan.config, plan.run_dir / "config.yaml")
        assert storage.check_run_folder(plan).figures["state"] == "held"
    assert storage.check_run_folder(plan).figures["state"] == "interrupted"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="/proc is a folder that not even root can write to")
def test_a_folder_that_can_not_be_written_to_is_a_problem() -> None:
    found = storage.check_locks(plan_in(Path("/proc"), with_data=False))
    assert (found.status, found.remedy) == ("problem", storage.ELSEWHERE)
    assert found.what.startswith("/proc can't be written to: ")


def test_a_disk_without_locks_or_with_locks_that_do_not_hold_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert storage.check_locks(plan_in(tmp_path, with_data=False)).status == "ok"

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert (
        "has no file locks (No locks available)"
        in storage.check_locks(plan_in(tmp_path, with_data=False)).what
    )
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    assert "gives one lock to two holders" in storage.check_locks(plan_in(tmp_path, with_data=False)).what


def test_too_little_space_for_the_checkpoints_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    found = storage.check_free_space(plan)
    assert found.status == "problem"
    assert found.figures["needed_bytes"] > 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_size_of_weights_and_optimizer_is_known_without_allocating_them(
    optimizer: str, tmp_path: Path
) -> None:
    plan = plan_in(tmp_path, f"optimizer={optimizer}")
    state = storage.measure_state(plan)
    model, used = plan.experiment.network.backbone, plan.experiment.optimizer
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    used.step()
    Checkpoints(tmp_path).save({"model": model.state_dict(), "optimizer": used.state_dict()})
    written = (tmp_path / "checkpoint.pt").stat().st_size
    assert state.weights + state.optimizer == pytest.approx(written, abs=60_000)  # names and addresses
    assert state.gradients == sum(parameter.nbytes for parameter in model.parameters())
    assert state.optimizer >= {"sgd": 1, "adamw": 2}[optimizer] * state.gradients
