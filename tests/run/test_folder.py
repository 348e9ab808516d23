"""Which commands share a run folder, and which process may write to it."""

import fcntl
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import evaluate
from tenet.compare.runs import SET_ASIDE
from tenet.config.command_line import plan
from tenet.config.run_config import run_id, write_config
from tenet.errors import ConfigError
from tenet.files.atomic import hold
from tenet.run.contents import RunLog
from tenet.run.folder import RunFolder, selection_error
from tenet.run.resume import prepare_to_resume

CONFIG = {"seed": 0, "tenet": {"groups": 6}, "tracking": {"project": "a"}, "resume": None, "rerun": False}


def test_the_id_depends_on_the_experiment_and_not_on_where_it_is_logged():
    assert run_id(CONFIG) == run_id({**CONFIG, "tracking": {"project": "b"}, "rerun": True})
    assert run_id(CONFIG) == run_id(dict(reversed(CONFIG.items())))
    assert run_id(CONFIG) != run_id({**CONFIG, "seed": 1})
    assert run_id(CONFIG) != run_id({**CONFIG, "tenet": {"groups": 4}})


def test_the_id_changes_with_the_version(monkeypatch):
    before = run_id(CONFIG)
    monkeypatch.setattr("tenet.config.run_config.__version__", "99.0")
    assert run_id(CONFIG) != before


def test_one_process_holds_a_folder_until_it_ends_even_if_it_is_killed(tmp_path):
    code = f"""
import os, time
from pathlib import Path
from tenet.run.folder import RunFolder
folder = RunFolder(Path({str(tmp_path)!r}))
folder.__enter__()
print("held", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(ConfigError, match="another process is working in"), RunFolder(tmp_path):
        pass
    process.kill()
    process.wait()
    process.stdout.close()
    with RunFolder(tmp_path) as folder:
        assert folder.path == tmp_path


def test_a_lock_file_deleted_by_its_holder_is_not_locked_twice(tmp_path, monkeypatch):
    path, flock, others = tmp_path / "lock", fcntl.flock, []

    def late(file, how):
        if not others:
            path.unlink()
            others.append(path.open("a"))
            flock(others[0], how)
        return flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    assert hold(path) is None
    others[0].close()
    with hold(path):
        assert hold(path) is None


@pytest.mark.parametrize("name", [".lock", "train.log"])
def test_a_folder_with_a_pipe_in_place_of_a_file_is_refused_without_waiting(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(OSError, match=rf"{name} is not a plain file"), RunFolder(tmp_path):
        pass
    (tmp_path / name).unlink()
    with RunFolder(tmp_path):
        pass


def test_a_refused_run_leaves_an_empty_folder_empty(tmp_path):
    with RunFolder(tmp_path / "new"):
        pass
    assert list((tmp_path / "new").iterdir()) == []


def test_what_a_run_wrote_before_its_configuration_is_known_as_its_own(tmp_path):
    with RunFolder(tmp_path):
        (tmp_path / "train.log").write_text("a warning")
        (tmp_path / ".config.yaml.4711.tmp").write_text("killed here")
    with RunFolder(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "train.log"]
    (tmp_path / "weights.safetensors").touch()
    with (
        pytest.raises(
            ConfigError, match=r"no run wrote \(\.lock, train\.log, weights|no run wrote \(weights"
        ),
        RunFolder(tmp_path),
    ):
        pass


@pytest.mark.parametrize("lock", ["theirs", "", None])
def test_a_log_of_others_is_left_alone(tmp_path, lock):
    (tmp_path / "train.log").write_text("theirs")
    if lock is not None:
        (tmp_path / ".lock").write_text(lock)
    log = RunLog(str(tmp_path / "train.log"), delay=True)
    log.emit(logging.makeLogRecord({"msg": "ours"}))
    with pytest.raises(ConfigError, match=r"holds files that no run wrote .*train\.log"), RunFolder(tmp_path):
        pass
    log.emit(logging.makeLogRecord({"msg": "ours"}))
    log.close()
    assert (tmp_path / "train.log").read_text() == "theirs"


def test_the_log_claims_an_empty_folder_for_the_run(tmp_path):
    log = RunLog(str(tmp_path / "train.log"), delay=True)
    log.emit(logging.makeLogRecord({"msg": "a defect"}))
    log.close()
    assert (tmp_path / "train.log").read_text() == "a defect\n"
    with RunFolder(tmp_path):
        pass


def test_runs_are_set_aside_within_one_tick_of_the_clock_and_from_within_the_folder(tmp_path, monkeypatch):
    _, config = plan(["tracking=none", "rerun=true"], config_dir=evaluate.CONFIG_DIR, config_name="train")
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)
    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.chdir(run)
    for number, path in enumerate([run, Path(), run / ".." / "run"]):
        write_config({**config, "seed": 7}, run / "config.yaml")
        (run / "notes.txt").write_text(str(number))
        with RunFolder(path) as folder:
            assert folder.take(config) is None
        assert list(run.iterdir()) == [], "only the lock was left"
    aside = sorted(tmp_path.glob("run-before-*"))
    assert [(path / "notes.txt").read_text() for path in aside] == ["0", "1", "2"]
    assert all(SET_ASIDE.fullmatch(path.name) for path in aside), "a comparison knows them"


def test_runs_are_selected_by_the_validation_error_if_there_is_one():
    assert selection_error({"validation/error_pct": 3.0, "test/error_pct": 4.0}) == 3
    assert selection_error({"test/error_pct": 4.0}) == 4


def test_an_evaluation_does_not_change_the_summary_of_a_run_that_is_still_training(tmp_path, caplog):
    _, configuration = plan(["tracking=none"], config_dir=evaluate.CONFIG_DIR, config_name="train")
    write_config(configuration, tmp_path / "config.yaml")
    tracking = {"_target_": "tenet.tracking.NoTracking"}
    target = SimpleNamespace(tracking=tracking, run_dir=tmp_path, has_own_dataset=True)
    report = SimpleNamespace(metrics={"corruption/mce_pct": 12.5}, records=[], pictures={})
    with RunFolder(tmp_path):
        evaluate.track(target, report, [], {})
    assert "another process is working in" in caplog.text
    assert not (tmp_path / "summary.json").exists()
    evaluate.track(target, report, [], {})
    assert json.loads((tmp_path / "summary.json").read_text())["corruption/mce_pct"] == 12.5


def test_an_extended_run_is_unfinished_until_its_new_end(tmp_path):
    files = [tmp_path / "summary.json", tmp_path / "weights.safetensors"]
    for file in files:
        file.touch()
    prepare_to_resume(tmp_path, step=60, last_step=60)
    assert all(file.exists() for file in files), "the run is not extended"
    with pytest.raises(ConfigError, match=r"is at step 60 already, beyond step 20"):
        prepare_to_resume(tmp_path, step=60, last_step=20)
    assert all(file.exists() for file in files), "the command was refused"
    prepare_to_resume(tmp_path, step=60, last_step=90)
    assert not any(file.exists() for file in files), "an evaluation now uses the checkpoint"
