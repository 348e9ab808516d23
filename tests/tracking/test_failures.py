"""W&B that refuses, stalls, lies, hangs or dies: training notices nothing, and ends soon after its last step."""

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tenet.run.metrics_file import read_metrics
from tenet.tracking import Tracker, wandb_run
from tenet.tracking.wandb_run import PATIENCE_S, WandbRun
from tests.tracking.wandb_offline import read_wandb_file, wandb_files
from tests.tracking.wandb_online import FINISH_TIMEOUT_S, INIT_TIMEOUT_S, ROWS, log_rows, told, wandb_with
from tests.tracking.wandb_server import API_KEY, serving

# Beyond the limits that are set: wandb's start, a machine that is busy with other things.
SLACK_S = 10.0


def check_that_nothing_is_lost(run_dir: Path) -> None:
    assert [row["step"] for row in read_metrics(run_dir / "metrics.jsonl")] == [*range(1, ROWS + 1)]


def check_that_the_run_is_offline_and_whole(run_dir: Path, caplog: Any) -> None:
    check_that_nothing_is_lost(run_dir)
    (warning,) = told(caplog)
    assert warning.startswith("W&B is offline (no run could be opened online: ")
    assert warning.endswith(f": wandb sync {run_dir / 'wandb'}")
    (file,) = wandb_files(run_dir)
    assert [row["step"] for row in read_wandb_file(file).history] == [*range(1, ROWS + 1)]


@pytest.mark.parametrize("behaviour", ["stall", "cut", "500"])
def test_where_the_server_is_bad_from_the_start_the_run_is_offline(
    behaviour: str, tmp_path: Path, caplog: Any
) -> None:
    with serving(behaviour) as server, wandb_with(server.environment):
        logging_s, end_s = log_rows(tmp_path)
        check_that_the_run_is_offline_and_whole(tmp_path, caplog)
    assert logging_s < 1, "training waits for W&B"
    assert end_s < INIT_TIMEOUT_S + SLACK_S


def test_where_nobody_listens_the_run_is_offline(tmp_path: Path, caplog: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    environment = {"WANDB_BASE_URL": f"http://127.0.0.1:{port}", "WANDB_API_KEY": API_KEY}
    with wandb_with(environment):
        logging_s, end_s = log_rows(tmp_path)
        check_that_the_run_is_offline_and_whole(tmp_path, caplog)
    assert logging_s < 1
    assert end_s < INIT_TIMEOUT_S + SLACK_S


@pytest.mark.parametrize("behaviour", ["stall", "cut", "500"])
def test_where_the_server_turns_bad_one_warning_tells_what_uploads_the_rest(
    behaviour: str, tmp_path: Path, caplog: Any
) -> None:
    with serving(turns=behaviour) as server, wandb_with(server.environment):
        logging_s, end_s = log_rows(tmp_path)
        check_that_nothing_is_lost(tmp_path)
    (warning,) = told(caplog)
    (part,) = (tmp_path / "wandb").glob("run-*")
    assert warning.startswith("W&B failed (")
    assert str(tmp_path / "metrics.jsonl") in warning
    assert warning.endswith(f": wandb sync --include-online {part}")
    assert logging_s < 1
    assert end_s < FINISH_TIMEOUT_S + PATIENCE_S + SLACK_S


HUNG = """
import os, signal, sys, time
from pathlib import Path
from tenet.tracking import WandbTracking, service, wandb_run
wandb_run.PATIENCE_S = service.END_TIMEOUT_S = 0.5
tracking = WandbTracking(mode="offline", finish_timeout_s=1.0)
with tracking.start(Path(sys.argv[1]), config={}) as tracker:
    for step in range(1, 301):
        while step == 100 and not Path(sys.argv[1], "wandb.json").exists():
            time.sleep(0.01)
        if step == 100:
            (process_id,) = service.service_process_ids()
            os.kill(process_id, signal.SIGSTOP)
        tracker.log({f"train/{name}": 1.0 for name in range(30)}, step=step)
    end = time.monotonic()
print(time.monotonic() - end)
"""


def test_a_hang_of_wandbs_process_holds_up_neither_ours_nor_its_exit(tmp_path: Path) -> None:
    # The rows are more than the socket between the processes holds.
    done = subprocess.run(
        [sys.executable, "-c", HUNG, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    check_that_nothing_is_lost(tmp_path)
    (warning,) = done.stderr.splitlines()
    assert warning.startswith("W&B failed (")
    assert float(done.stdout) < SLACK_S


class FakeRun:
    """What `wandb.init` returns, with one function for each of its calls."""

    offline = True

    def __init__(self, call: Callable[[str], None]) -> None:
        self.log = self.update = lambda data: call("log")
        self.finish = lambda exit_code: call(f"finish {exit_code}")
        self.summary = self


def tracker_on(run_dir: Path, call: Callable[[str], None]) -> Tracker:
    run = WandbRun(run_dir, lambda: FakeRun(call), open_timeout_s=1.0, finish_timeout_s=0.1)
    return Tracker(run_dir, wandb_run=run)


def test_trouble_with_wandb_is_one_warning_and_the_metrics_file_goes_on(tmp_path: Path, caplog: Any) -> None:
    calls = []

    def refuse(call: str) -> None:
        calls.append(call)
        raise ConnectionError("the process behind wandb is gone\nand more")

    with tracker_on(tmp_path, refuse) as tracker:
        for step in range(3):
            tracker.log({"train/loss": 1.0}, step=step)
        tracker.summarize({"test/error_pct": 3.5})
        tracker.finish()
    assert calls == ["log", "finish 0"]
    (warning,) = caplog.records
    assert (warning.name, warning.levelno) == ("tenet", logging.WARNING)
    assert "(ConnectionError: the process behind wandb is gone)" in warning.getMessage()
    assert "\n" not in warning.getMessage()
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [0, 1, 2]


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A call that doesn't return, until the test is over."""
    monkeypatch.setattr(wandb_run, "PATIENCE_S", 0.1)
    monkeypatch.setattr(wandb_run, "FAILED_FINISH_TIMEOUT_S", 0.2)
    over = threading.Event()
    yield lambda call: over.wait(10)
    over.set()


@pytest.mark.parametrize("fails", [False, True])
def test_a_call_that_hangs_keeps_nobody_waiting(fails: bool, hang: Any, tmp_path: Path, caplog: Any) -> None:
    tracker = tracker_on(tmp_path, hang)
    start = time.monotonic()
    tracker.log({"train/loss": 1.0}, step=1)
    assert time.monotonic() - start < 0.1
    tracker.finish(exit_code=int(fails))
    assert time.monotonic() - start < 3
    assert "it has not ended within 0.2 s" in told(caplog)[-1]
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1


def test_what_waits_for_a_wandb_that_hangs_does_not_fill_the_memory(
    hang: Any, tmp_path: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_run, "QUEUE_LIMIT", 3)
    tracker = tracker_on(tmp_path, hang)
    for step in range(10):
        tracker.log({"train/loss": 1.0}, step=step)
    (warning,) = told(caplog)
    assert "it takes nothing any more" in warning
    tracker.finish()
    assert told(caplog) == [warning]
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 10
