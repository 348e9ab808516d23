"""The executors, built from their configuration and used without Hydra."""

import time
from pathlib import Path

import pytest
import yaml
from hydra.types import HydraContext

from tenet.config.build import build
from tenet.launching import ProcessExecutor, processes
from tenet.launching.job import INTERRUPTED, Job, JobWork
from tests.config.test_build import composed
from tests.launching.app import ROOT, is_alive, wait_for
from tests.launching.jobs import LargeResult, Unstoppable


def test_the_launcher_is_not_part_of_a_run() -> None:
    configs = [
        composed(*words) for words in ([], ["launcher=serial"], ["launcher=parallel", "launcher.jobs=9"])
    ]
    assert configs[0] == configs[1] == configs[2]
    assert "launcher" not in configs[0]


@pytest.mark.parametrize("option", ["serial", "parallel", "slurm", "slurm_nodes", "slurm_array"])
def test_every_launcher_is_built_with_all_its_values(option: str) -> None:
    folder = ROOT / "conf" / "launcher"
    config = yaml.safe_load((folder / f"{option}.yaml").read_text())
    if "defaults" in config:
        config = yaml.safe_load((folder / f"{config.pop('defaults')[0]}.yaml").read_text()) | config
    built = build(config, key="launcher")
    assert f"tenet.launching.{type(built).__name__}" == config.pop("_target_")
    assert {key: getattr(built, key) for key in config} == config


def submitted(work: type[JobWork], folder: Path) -> tuple[ProcessExecutor, Job]:
    executor, job = ProcessExecutor(), Job(number=0, overrides=(), label="job")
    assert executor.open(folder, total=1, may_use_gpus=False) == 1
    executor.submit(job, work(HydraContext(None, None), print, str(folder / "pid")))
    return executor, job


def test_a_process_sends_a_result_of_any_size(tmp_path: Path) -> None:
    executor, job = submitted(LargeResult, tmp_path)
    wait_for(lambda: (outcome := executor.poll(job)) and len(outcome.result) == 1_000_000)


def test_a_process_that_does_not_stop_in_time_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_WITHIN_S", 0.3)
    executor, job = submitted(Unstoppable, tmp_path)
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    executor.stop()
    assert executor.poll(job) == INTERRUPTED
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_a_second_ctrl_c_kills_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    executor, _ = submitted(Unstoppable, tmp_path)
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    monkeypatch.setattr(time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        executor.stop()
    assert not is_alive(int((tmp_path / "pid").read_text()))
