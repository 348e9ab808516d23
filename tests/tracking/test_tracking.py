"""Real W&B runs, offline, read back from the file that `wandb sync` would upload."""

import json
import logging
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from tenet.errors import ConfigError
from tenet.failures import PREEMPTED
from tenet.run.metrics_file import read_metrics
from tenet.run.signals import Preempted
from tenet.tracking import NoTracking, WandbTracking
from tests.tracking.wandb_offline import RunRecords, read_wandb_file, wandb_files

CONFIG = {"seed": 3, "tenet": {"groups": 6, "weight": 0.1}, "augment": {"operators": ["rotate", "shear_x"]}}
METRICS = {"epoch": 0, "train/loss": 1.9, "corruption/fog/3/error_pct": 41.5}
COMMIT, REMOTE = "0123456789" * 4, "https://example.org/tenet.git"
EXPERIMENT = "1f0c5a2b3d"


class Session(NamedTuple):
    """Three offline runs of one process: one that ends well, its continuation, and one that fails."""

    first_dir: Path
    first: RunRecords
    continued: RunRecords
    failed: RunRecords


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    from PIL import Image

    root = tmp_path_factory.mktemp("session")
    first_dir, failed_dir = root / "not" / "there yet", root / "failed"
    first_dir.mkdir(parents=True)
    environment = {"git": {"commit": COMMIT, "dirty": True, "remote": REMOTE}}
    (first_dir / "environment.json").write_text(json.dumps(environment))
    (first_dir / "code.patch").write_text("-a\n+b\n")
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
        tracker.log_image("evaluation/grid", root / "grid.png")
        tracker.log_table("evaluation/errors", ("corruption", "error_pct"), [("fog", 41.5), ("mean", None)])
        tracker.summarize({"test/error_pct": 3.5})
        tracker.log_artifact("weights", [root / "grid.png"], metadata={"step": 24, "test/error_pct": 3.5})
        tracker.log_artifact("checkpoint", [root / "grid.png"], metadata={"step": 24})
    time.sleep(1)  # older wandb names a run's folder by its id and the second
    with tracking.start(first_dir, config={"severity": 5}, job_type="evaluate", resume=True) as tracker:
        tracker.summarize({"corruption/mce_pct": 12.3}, instead_of="test/")
    with pytest.raises(KeyboardInterrupt), tracking.start(failed_dir, config={}, job_type="sweep"):
        raise KeyboardInterrupt
    first, continued = wandb_files(first_dir)
    (failed,) = wandb_files(failed_dir)
    return Session(first_dir, *map(read_wandb_file, (first, continued, failed)))


def test_wandb_receives_the_whole_config(session: Session) -> None:
    assert {name: value for name, value in session.first.config.items() if name != "_wandb"} == CONFIG


def test_wandb_receives_metrics_under_their_own_names_over_our_step(session: Session) -> None:
    first, second = (row for row in session.first.history if "train/loss" in row)
    assert METRICS.items() | {("step", 12)} <= first.items()
    assert second["step"] == 24
    assert math.isnan(float(second["train/loss"]))
    assert session.first.step_metrics == {"*": "step"}


def test_wandb_receives_image_table_and_summary(session: Session) -> None:
    summary = session.first.summary
    assert summary["test/error_pct"] == 3.5
    assert summary["evaluation/grid/_type"] == "image-file"
    assert (summary["evaluation/errors/_type"], summary["evaluation/errors/nrows"]) == ("table-file", 2)


def test_wandb_run_carries_project_name_group_job_type_and_tags(session: Session) -> None:
    run = session.first.run
    assert (run.project, run.display_name, run.run_group) == ("robust", "six groups", "ablation")
    assert (run.job_type, list(run.tags)) == ("train", ["cifar"])
    assert session.failed.run.job_type == "sweep"


def test_wandb_receives_system_metrics_commit_environment_and_patch(session: Session) -> None:
    assert "proc.memory.rssMB" in session.first.system_metrics
    assert (session.first.run.git.commit, session.first.run.git.remote_url) == (COMMIT, REMOTE)
    assert {"environment.json", "code.patch"} <= session.first.saved_files


def test_artifacts_of_the_kinds_that_are_asked_for_carry_their_figures(session: Session) -> None:
    (weights,) = [found for found in session.first.artifacts if found.type == "model"]
    assert weights.name == f"weights-{session.first.run.run_id}"
    assert json.loads(weights.metadata) == {"step": 24, "test/error_pct": 3.5}
    assert [entry.path for entry in weights.manifest.contents] == ["grid.png"]
    assert "checkpoint" not in {found.type for found in session.first.artifacts}


def test_wandb_run_that_meets_an_exception_has_exit_code_1_and_else_0(session: Session) -> None:
    assert [session.first.exit_code, session.continued.exit_code, session.failed.exit_code] == [0, 0, 1]


def test_wandb_is_told_that_a_stopped_run_goes_on_later(session: Session, tmp_path: Path) -> None:
    with pytest.raises(Preempted), WandbTracking(mode="offline").start(tmp_path, config=CONFIG):
        raise Preempted("SIGTERM")
    (stopped,) = map(read_wandb_file, wandb_files(tmp_path))
    assert (stopped.exit_code, stopped.is_preempting) == (PREEMPTED, True)
    assert not session.failed.is_preempting


def test_a_new_run_has_an_id_of_the_experiment_that_no_other_folder_has(
    session: Session, tmp_path: Path
) -> None:
    with WandbTracking(mode="offline").start(tmp_path, config=CONFIG, run_id=EXPERIMENT):
        pass
    (again,) = map(read_wandb_file, wandb_files(tmp_path))
    ids = {session.first.run.run_id, again.run.run_id}
    assert len(ids) == 2, "`wandb sync` would mix two runs of one id"
    assert all(run_id.startswith(f"{EXPERIMENT}-") for run_id in ids)


def test_each_start_in_a_process_is_a_run_of_its_own(session: Session, tmp_path: Path) -> None:
    assert session.first.run.run_id != session.failed.run.run_id
    tracking = WandbTracking(mode="offline")
    with (
        tracking.start(tmp_path / "outer", config={}),
        tracking.start(tmp_path / "inner", config={}) as inner,
    ):
        inner.log({"train/loss": 1.0}, step=1)
    (outer_file,), (inner_file,) = wandb_files(tmp_path / "outer"), wandb_files(tmp_path / "inner")
    assert len(read_wandb_file(inner_file).history) == 1
    assert read_wandb_file(outer_file).history == []


def test_a_continued_run_folder_keeps_its_wandb_run_in_the_same_place(session: Session) -> None:
    remembered = json.loads((session.first_dir / "wandb.json").read_text())
    first, later = session.first.run, session.continued.run
    assert (later.run_id, later.project, later.entity) == (first.run_id, first.project, first.entity)
    assert (remembered["id"], remembered["project"], remembered["entity"]) == (
        first.run_id,
        "robust",
        "team",
    )
    assert remembered["url"] is None
    assert later.resume, "`wandb sync` appends a part that says so, and would overwrite with another"
    assert later.job_type == "", "the run stays a training run when it is evaluated"
    assert session.continued.summary["corruption/mce_pct"] == 12.3


def test_figures_that_newer_ones_replace_are_taken_from_both_summaries(session: Session) -> None:
    assert json.loads((session.first_dir / "summary.json").read_text()) == {"corruption/mce_pct": 12.3}
    assert session.continued.summary["test/error_pct"] is None


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are read from /proc")
def test_no_file_of_the_run_is_open_after_finish(session: Session) -> None:
    opened = [os.path.realpath(handle) for handle in Path("/proc/self/fd").iterdir()]
    assert [path for path in opened if path.startswith(str(session.first_dir))] == []


def test_without_leave_to_send_code_neither_commit_nor_patch_leaves(session: Session, tmp_path: Path) -> None:
    for name in ("environment.json", "code.patch"):
        (tmp_path / name).write_bytes((session.first_dir / name).read_bytes())
    with WandbTracking(mode="offline", code=False).start(tmp_path, config={}):
        pass
    (run,) = map(read_wandb_file, wandb_files(tmp_path))
    assert (run.run.git.commit, run.run.git.remote_url) == ("", "")
    assert run.saved_files.isdisjoint({"environment.json", "code.patch"})


@pytest.fixture
def finished_run(tmp_path: Path) -> Path:
    """The folder of a run that was trained before, under a W&B run of its own."""
    with NoTracking().start(tmp_path, config={}) as tracker:
        tracker.log({"train/loss": 1.9}, step=1)
        tracker.log({"train/loss": 0.9}, step=2)
        tracker.summarize({"test/error_pct": 3.5})
    (tmp_path / "wandb.json").write_text('{"id": "before", "project": "robust", "entity": null}')
    return tmp_path


def test_a_sweeps_agent_gets_the_figures_of_a_finished_run_under_its_own_id(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = WandbTracking(project="ours", mode="offline")
    tracking.report_finished(finished_run, config=CONFIG, run_id=EXPERIMENT)
    assert wandb_files(finished_run) == [], "there is no agent"
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


def test_a_wandb_run_that_is_new_to_an_old_folder_gets_its_whole_history(finished_run: Path) -> None:
    (finished_run / "wandb.json").unlink()
    with WandbTracking(mode="offline").start(finished_run, config={}, resume=True) as tracker:
        tracker.log({"train/loss": 0.5}, step=3)
    (run,) = map(read_wandb_file, wandb_files(finished_run))
    assert [row["step"] for row in run.history] == [1, 2, 3]
    assert run.summary["test/error_pct"] == 3.5


@pytest.mark.parametrize("module", [None, ModuleType("wandb")], ids=["missing", "broken"])
def test_without_a_wandb_that_works_there_is_one_warning_and_the_files(
    module: ModuleType | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", module)
    with WandbTracking(mode="online").start(tmp_path, config={}) as tracker:
        tracker.log({"train/loss": 1.0}, step=1)
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert warning.getMessage().startswith("W&B is off (")
    assert warning.getMessage().endswith(f"every metric is in {tmp_path / 'metrics.jsonl'}")
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1


@pytest.mark.parametrize(
    ("mode", "wandb_mode", "key"), [("online", "offline", "tracking.mode"), ("auto", "online", "WANDB_MODE")]
)
def test_online_without_an_api_key_is_an_error_that_names_the_remedies(
    mode: str, wandb_mode: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", wandb_mode)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "absent"))
    with pytest.raises(
        ConfigError, match=rf"^{key}=online .*wandb login.*WANDB_API_KEY.*mode=offline.*=none"
    ):
        WandbTracking(mode=mode).start(tmp_path, config={})


def test_without_an_api_key_the_run_is_offline_and_says_in_one_line_how_to_upload_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    import wandb

    caplog.set_level(logging.INFO, "tenet")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "absent"))
    wandb.teardown()  # or it would not look at the environment again
    WandbTracking().start(tmp_path / "run", config={}).finish()
    wandb.teardown()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "tenet"]
    assert line.startswith("W&B is offline (no API key is set up)")
    assert line.endswith(f": wandb sync {tmp_path / 'run' / 'wandb'}")


@pytest.mark.parametrize(
    "settings",
    [{"mode": "sometimes"}, {"init_timeout_s": 0.0}, {"finish_timeout_s": -1.0}, {"artifacts": "all"}, {"tags": "cifar"}],
)  # fmt: skip
def test_settings_that_cannot_work_are_errors(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"tracking.{next(iter(settings))}="):
        WandbTracking(**settings)


def test_wandb_mode_disabled_leaves_the_local_files_alone_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with WandbTracking().start(tmp_path, config={}) as tracker:
        tracker.log({"train/loss": 1.0}, step=1)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_no_tracking_writes_the_local_files_alone(tmp_path: Path) -> None:
    with NoTracking().start(tmp_path / "new", config=CONFIG) as tracker:
        tracker.log(METRICS, step=12)
        tracker.log_table("table", ("a",), [(1,)])
        tracker.log_image("image", tmp_path / "absent.png")
        tracker.log_artifact("weights", [tmp_path / "absent.safetensors"], metadata={})
        tracker.summarize({"test/error_pct": math.inf})
    assert read_metrics(tmp_path / "new" / "metrics.jsonl") == [{"step": 12, **METRICS}]
    assert json.loads((tmp_path / "new" / "summary.json").read_text()) == {"test/error_pct": None}
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_importing_tracking_does_not_import_wandb() -> None:
    code = "import sys, tenet.tracking; sys.exit('wandb' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_online_without_credentials_is_refused_by_the_check_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenet.tracking.wandb_tracking.has_credentials", lambda settings: False)
    with pytest.raises(ConfigError, match=r"^tracking\.mode=online needs an API key"):
        WandbTracking(mode="online").check()
    WandbTracking(mode="offline").check()
    NoTracking().check()
