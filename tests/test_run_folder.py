"""Which commands share a run folder, and who may write to it."""

import subprocess
import sys

import pytest

from tenet.config import run_id
from tenet.errors import ConfigError
from tenet.run_folder import RunFolder, headline

CONFIG = {"seed": 0, "tenet": {"groups": 6}, "tracking": {"project": "a"}, "resume": None, "rerun": False}


def test_the_id_is_of_the_experiment_and_not_of_where_it_is_logged():
    assert run_id(CONFIG) == run_id({**CONFIG, "tracking": {"project": "b"}, "rerun": True})
    assert run_id(CONFIG) == run_id(dict(reversed(CONFIG.items())))
    assert run_id(CONFIG) != run_id({**CONFIG, "seed": 1})
    assert run_id(CONFIG) != run_id({**CONFIG, "tenet": {"groups": 4}})


def test_the_id_changes_with_the_version(monkeypatch):
    before = run_id(CONFIG)
    monkeypatch.setattr("tenet.config.__version__", "99.0")
    assert run_id(CONFIG) != before


def test_one_process_holds_a_folder_until_it_ends_however_it_ends(tmp_path):
    code = f"""
import os, time
from pathlib import Path
from tenet.run_folder import RunFolder
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


def test_a_refused_run_leaves_an_empty_folder_empty(tmp_path):
    with RunFolder(tmp_path / "new"):
        pass
    assert list((tmp_path / "new").iterdir()) == []


def test_runs_are_chosen_by_the_validation_error_where_there_is_one():
    assert headline({"validation/error_pct": 3.0, "test/error_pct": 4.0}) == 3
    assert headline({"test/error_pct": 4.0}) == 4
