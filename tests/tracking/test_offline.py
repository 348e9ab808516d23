"""Real W&B runs, offline, read back from the file that `wandb sync` would upload."""

import json
import math
import os
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tenet.failures import PREEMPTED
from tenet.run.signals import Preempted
from tenet.tracking import NoTracking, Tracker, WandbTracking
from tenet.tracking.names import setting
from tests.tracking.wandb_offline import RunRecords, read_wandb_file, wandb_files

SHOWN = {
    "seed": 3,
    "tenet": {"groups": 6, "weight": 0.1},
    "choices": {"tenet": "inhibition", "attack": "none"},
}
CONFIG = {
    **SHOWN,
    "tenet": {"_target_": "tenet.methods.Inhibited", **SHOWN["tenet"]},
    "attack": {"_target_": None},
    "tracking": {"_target_": "tenet.tracking.WandbTracking", "mode": "offline"},
    "resume": "runs/digits",
    "rerun": False,
}
CELL = "corruption/fog/3/error_pct"
METRICS = {"epoch": 0, "train/loss": 1.9, "corruption/fog/3/error_pct": 41.5}
COMMIT, REMOTE = "0123456789" * 4, "https://example.org/tenet.git"
EXPERIMENT = "1f0c5a2b3d"


class OfflineRuns(NamedTuple):
    """Three offline runs of one process: one that succeeds, its continuation, and one that fails."""

    first_dir: Path
    first: RunRecords
    continued: RunRecords
    failed: RunRecords


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> OfflineRuns:
    from PIL import Image

    root = tmp_path_factory.mktemp("offline")
    first_dir, failed_dir = root / "nested" / "with spaces", root / "failed"
    first_dir.mkdir(parents=True)
    environment = {"git": {"commit": COMMIT, "dirty": True, "remote": REMOTE}}
    (first_dir / "environment.json").write_text(json.dumps(environment))
    (first_dir / "code.patch").write_text("-a\n+b\n")
    (first_dir / "config.yaml").write_text("seed: 3\n")
    Image.new("RGB", (4, 4)).save(root / "grid.png")
    tracking = WandbTracking(
        project="robust",
        entity="team",
        name="six groups",
        group="ablation",
        job_type="train",
        tags=("cifar",),
        mode="offline",
        artifacts="weights",
    )
    with tracking.start(first_dir, config=CONFIG, run_id=EXPERIMENT) as tracker:
        tracker.log(METRICS, step=12)
        tracker.log({"train/loss": math.nan}, step=24)
        tracker.summarize({"test/error_pct": 3.5})
        tracker.log_artifact("weights", [root / "grid.png"], metadata={"step": 24, "test/error_pct": 3.5})
        tracker.log_artifact("checkpoint", [root / "grid.png"], metadata={"step": 24})
    time.sleep(1)  # wandb names the folder of a part by the run's id and the second
    with tracking.start(first_dir, config={"severity": 5}, job_type="evaluate", resume=True) as tracker:
        tracker.summarize({"corruption/mce_pct": 12.3, CELL: 41.5}, instead_of="test/")
        tracker.log_image("evaluation/grid", root / "grid.png")
        tracker.log_table("evaluation/errors", ("corruption", "error_pct"), [("fog", 41.5), ("mean", None)])
    with pytest.raises(KeyboardInterrupt), tracking.start(failed_dir, config={}, job_type="sweep"):
        raise KeyboardInterrupt
    first, continued = wandb_files(first_dir)
    (failed,) = wandb_files(failed_dir)
    return OfflineRuns(first_dir, *map(read_wandb_file, (first, continued, failed)))


def test_wandb_receives_the_choices_and_settings_without_plumbing(runs: OfflineRuns) -> None:
    config = {name: value for name, value in runs.first.config.items() if name != "_wandb"}
    assert config == {**SHOWN, "setting": setting(CONFIG)}


def test_runs_that_differ_in_seed_and_logging_alone_share_a_setting() -> None:
    assert setting({**CONFIG, "seed": 4, "tracking": {}, "rerun": True}) == setting(CONFIG)
    assert setting({**CONFIG, "tenet": {"groups": 4}}) != setting(CONFIG)
    assert setting(CONFIG).startswith("inhibition-")


def test_wandb_receives_metrics_under_the_same_names_over_step(runs: OfflineRuns) -> None:
    first, second = (row for row in runs.first.history if "train/loss" in row)
    assert METRICS.items() | {("step", 12)} <= first.items()
    assert second["step"] == 24
    assert math.isnan(float(second["train/loss"]))
    assert runs.first.step_metrics == {"*": "step"}


def test_an_evaluation_adds_image_table_and_figures_and_leaves_step_runtime_and_hardware_alone(
    runs: OfflineRuns,
) -> None:
    summary = runs.continued.summary
    assert summary.keys() == {"test/error_pct", "corruption/mce_pct", "evaluation/grid", "evaluation/errors"}
    assert summary["evaluation/grid"]["_type"] == "image-file"
    assert (summary["evaluation/errors"]["_type"], summary["evaluation/errors"]["nrows"]) == ("table-file", 2)
    assert runs.continued.history == []
    assert runs.continued.system_metrics == set()
    assert all(name.startswith("media/") for name in runs.continued.saved_files)
    assert {"_runtime", "_step"} <= runs.first.summary.keys()
    stored = json.loads((runs.first_dir / "summary.json").read_text())
    assert stored == {"corruption/mce_pct": 12.3, CELL: 41.5}, "the file has every cell"


def test_wandb_run_carries_project_name_group_job_type_and_tags(runs: OfflineRuns) -> None:
    run = runs.first.run
    assert (run.project, run.display_name, run.run_group) == ("robust", "six groups", "ablation")
    assert (run.job_type, list(run.tags)) == ("train", ["cifar"])
    assert runs.failed.run.job_type == "sweep"


def test_wandb_receives_system_metrics_commit_environment_and_patch(runs: OfflineRuns) -> None:
    assert "proc.memory.rssMB" in runs.first.system_metrics
    assert (runs.first.run.git.commit, runs.first.run.git.remote_url) == (COMMIT, REMOTE)
    assert {"environment.json", "code.patch", "with spaces/config.yaml"} <= runs.first.saved_files


def test_artifacts_of_the_configured_kinds_carry_their_figures(runs: OfflineRuns) -> None:
    (weights,) = [found for found in runs.first.artifacts if found.type == "model"]
    assert weights.name == f"weights-{runs.first.run.run_id}"
    assert json.loads(weights.metadata) == {"step": 24, "test/error_pct": 3.5}
    assert [entry.path for entry in weights.manifest.contents] == ["grid.png"]
    assert "checkpoint" not in {found.type for found in runs.first.artifacts}


def test_an_exception_sets_the_exit_code_of_the_wandb_run_to_1(runs: OfflineRuns) -> None:
    assert [runs.first.exit_code, runs.continued.exit_code, runs.failed.exit_code] == [0, 0, 1]


def test_a_preempted_run_is_marked_as_preempting(runs: OfflineRuns, tmp_path: Path) -> None:
    with pytest.raises(Preempted), WandbTracking(mode="offline").start(tmp_path, config=CONFIG):
        raise Preempted("SIGTERM")
    (stopped,) = map(read_wandb_file, wandb_files(tmp_path))
    assert (stopped.exit_code, stopped.is_preempting) == (PREEMPTED, True)
    assert not runs.failed.is_preempting


def test_an_offline_run_has_the_experiments_id_with_a_unique_ending(
    runs: OfflineRuns, tmp_path: Path
) -> None:
    with WandbTracking(mode="offline").start(tmp_path, config=CONFIG, run_id=EXPERIMENT):
        pass
    (again,) = map(read_wandb_file, wandb_files(tmp_path))
    ids = {runs.first.run.run_id, again.run.run_id}
    assert len(ids) == 2, "`wandb sync` would mix two runs of one id"
    assert all(run_id.startswith(f"{EXPERIMENT}-") for run_id in ids)


def test_each_start_in_a_process_is_a_run_of_its_own(runs: OfflineRuns, tmp_path: Path) -> None:
    assert runs.first.run.run_id != runs.failed.run.run_id
    tracking = WandbTracking(mode="offline")
    with (
        tracking.start(tmp_path / "outer", config={}),
        tracking.start(tmp_path / "inner", config={}) as inner,
    ):
        inner.log({"train/loss": 1.0}, step=1)
    (outer_file,), (inner_file,) = wandb_files(tmp_path / "outer"), wandb_files(tmp_path / "inner")
    assert len(read_wandb_file(inner_file).history) == 1
    assert read_wandb_file(outer_file).history == []


def test_a_resumed_run_continues_the_same_wandb_run(runs: OfflineRuns) -> None:
    remembered = json.loads((runs.first_dir / "wandb.json").read_text())
    first, later = runs.first.run, runs.continued.run
    assert (later.run_id, later.project, later.entity) == (first.run_id, first.project, first.entity)
    assert (remembered["id"], remembered["project"], remembered["entity"]) == (
        first.run_id,
        "robust",
        "team",
    )
    assert remembered["url"] is None
    assert later.resume, (
        "`wandb sync` appends a part marked as resumed; any other part would overwrite the run"
    )
    assert later.job_type == "", "the run stays a training run when it is evaluated"
    assert runs.continued.summary["corruption/mce_pct"] == 12.3


def test_replaced_figures_are_removed_from_both_summaries(runs: OfflineRuns) -> None:
    assert "test/error_pct" not in json.loads((runs.first_dir / "summary.json").read_text())
    assert runs.continued.summary["test/error_pct"] is None


def test_generated_figures_of_an_earlier_version_are_not_taken_for_official_ones(tmp_path: Path) -> None:
    earlier = {"test/error_pct": 3.5, "corruption/mce_pct": 9.0, "corruption/source": "generated"}
    (tmp_path / "summary.json").write_text(json.dumps(earlier))
    Tracker(tmp_path).summarize({"corruption/mce_pct": 12.3}, instead_of=("corruption/",))
    assert json.loads((tmp_path / "summary.json").read_text()) == {
        "test/error_pct": 3.5, "corruption_generated/mce_pct": 9.0, "corruption/mce_pct": 12.3,
    }  # fmt: skip


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are read from /proc")
def test_no_file_of_the_run_is_open_after_finish(runs: OfflineRuns) -> None:
    opened = [os.path.realpath(handle) for handle in Path("/proc/self/fd").iterdir()]
    assert [path for path in opened if path.startswith(str(runs.first_dir))] == []


def test_with_code_false_neither_commit_nor_patch_is_sent(runs: OfflineRuns, tmp_path: Path) -> None:
    for name in ("environment.json", "code.patch"):
        (tmp_path / name).write_bytes((runs.first_dir / name).read_bytes())
    with WandbTracking(mode="offline", code=False).start(tmp_path, config={}):
        pass
    (run,) = map(read_wandb_file, wandb_files(tmp_path))
    assert (run.run.git.commit, run.run.git.remote_url) == ("", "")
    assert run.saved_files.isdisjoint({"environment.json", "code.patch"})


@pytest.fixture
def finished_run(tmp_path: Path) -> Path:
    """The folder of a run that finished earlier and belongs to a W&B run."""
    with NoTracking().start(tmp_path, config={}) as tracker:
        tracker.log({"train/loss": 1.9}, step=1)
        tracker.log({"train/loss": 0.9}, step=2)
        tracker.summarize({"test/error_pct": 3.5})
    (tmp_path / "wandb.json").write_text('{"id": "before", "project": "robust", "entity": null}')
    return tmp_path


def test_a_sweeps_agent_receives_a_finished_run_under_the_agents_id(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = WandbTracking(project="ours", mode="offline")
    tracking.report_finished(finished_run, config=CONFIG, run_id=EXPERIMENT)
    assert wandb_files(finished_run) == [], "no agent asked for it"
    for name, value in {
        "WANDB_SWEEP_ID": "sweep",
        "WANDB_RUN_ID": "agents",
        "WANDB_PROJECT": "sweeps",
    }.items():
        monkeypatch.setenv(name, value)
    tracking.report_finished(finished_run, config=CONFIG, run_id=EXPERIMENT)
    (run,) = map(read_wandb_file, wandb_files(finished_run))
    assert (run.run.run_id, run.run.sweep_id, run.run.project) == ("agents", "sweep", "sweeps")
    assert run.summary["test/error_pct"] == 3.5
    assert [(row["step"], row["train/loss"]) for row in run.history] == [(1, 1.9), (2, 0.9)]


def test_a_new_wandb_run_of_a_resumed_folder_receives_the_whole_history(finished_run: Path) -> None:
    (finished_run / "wandb.json").unlink()
    with WandbTracking(mode="offline").start(finished_run, config={}, resume=True) as tracker:
        tracker.log({"train/loss": 0.5}, step=3)
    (run,) = map(read_wandb_file, wandb_files(finished_run))
    assert [row["step"] for row in run.history] == [1, 2, 3]
    assert run.summary["test/error_pct"] == 3.5
