"""A W&B that refuses, stalls, hangs or dies does not disturb training, nor delay its end for long."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tenet.run.metrics_file import read_metrics
from tenet.tracking import Tracker, wandb_run
from tenet.tracking.wandb_run import PATIENCE_S, WandbRun
from tests.tracking.wandb_offline import read_wandb_file, wandb_files
from tests.tracking.wandb_online import (
    FINISH_TIMEOUT_S,
    INIT_TIMEOUT_S,
    ROWS,
    log_rows,
    logged,
    wandb_with,
)
from tests.tracking.wandb_server import API_KEY, serving

# On top of the configured limits: wandb's start, on a busy machine.
SLACK_S = 10.0


def check_that_no_metric_is_lost(run_dir: Path) -> None:
    assert [row["step"] for row in read_metrics(run_dir / "metrics.jsonl")] == [*range(1, ROWS + 1)]


def check_that_the_run_is_offline_and_complete(run_dir: Path, caplog: Any) -> None:
    check_that_no_metric_is_lost(run_dir)
    (warning,) = logged(caplog)
    assert warning.startswith("W&B is offline (no run could be opened online: ")
    assert warning.endswith(f": wandb sync {run_dir / 'wandb'}")
    (file,) = wandb_files(run_dir)
    assert [row["step"] for row in read_wandb_file(file).history] == [*range(1, ROWS + 1)]


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", ["stall", "cut", "500"])
def test_a_run_is_offline_if_the_server_fails_from_the_start(
    behaviour: str, tmp_path: Path, caplog: Any
) -> None:
    with serving(behaviour) as server, wandb_with(server.environment):
        logging_s, end_s = log_rows(tmp_path)
        check_that_the_run_is_offline_and_complete(tmp_path, caplog)
    assert logging_s < 1, "training waited for W&B"
    assert end_s < INIT_TIMEOUT_S + SLACK_S


def test_a_run_is_offline_if_nothing_listens(tmp_path: Path, caplog: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    environment = {"WANDB_BASE_URL": f"http://127.0.0.1:{port}", "WANDB_API_KEY": API_KEY}
    with wandb_with(environment):
        logging_s, end_s = log_rows(tmp_path)
        check_that_the_run_is_offline_and_complete(tmp_path, caplog)
    assert logging_s < 1
    assert end_s < INIT_TIMEOUT_S + SLACK_S


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", ["stall", "500"])
def test_if_the_server_fails_later_one_warning_names_the_command_that_uploads_the_rest(
    behaviour: str, tmp_path: Path, caplog: Any
) -> None:
    with serving(turns=behaviour) as server, wandb_with(server.environment):
        logging_s, end_s = log_rows(tmp_path)
        check_that_no_metric_is_lost(tmp_path)
    (warning,) = logged(caplog)
    (part,) = (tmp_path / "wandb").glob("run-*")
    assert warning.startswith("W&B failed (")
    assert str(tmp_path / "metrics.jsonl") in warning
    assert warning.endswith(f": wandb sync --include-online {part}")
    assert logging_s < 1
    assert end_s < FINISH_TIMEOUT_S + PATIENCE_S + SLACK_S


SIGNALLED = """
import os, sys, time
from pathlib import Path
from tenet.tracking import WandbTracking, wandb_run
from tests.tracking.wandb_online import wandb_process_ids
wandb_run.PATIENCE_S = wandb_run.TEARDOWN_TIMEOUT_S = 0.5
run_dir, number = Path(sys.argv[1]), int(sys.argv[2])
tracking = WandbTracking(mode="offline", finish_timeout_s=1.0)
with tracking.start(run_dir, config={}) as tracker:
    for step in range(1, 301):
        while step == 100 and not (run_dir / "wandb.json").exists():
            time.sleep(0.01)
        if step == 100:
            (process_id,) = wandb_process_ids(os.getpid())
            os.kill(process_id, number)
            (run_dir / "process_id").write_text(str(process_id))
        tracker.log({f"train/{name}": 1.0 for name in range(30)}, step=step)
    end = time.monotonic()
(run_dir / "end_s").write_text(str(time.monotonic() - end))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_if_wandbs_process_hangs_or_dies_neither_logging_nor_the_exit_waits(
    number: int, tmp_path: Path
) -> None:
    # The rows are more than the socket between the processes holds. The output is a file, because a stopped
    # process would keep a pipe open.
    command = [sys.executable, "-c", SIGNALLED, str(tmp_path), str(int(number))]
    try:
        with (tmp_path / "output").open("w") as output:
            done = subprocess.run(command, stdout=output, stderr=output, timeout=60)
    finally:
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((tmp_path / "process_id").read_text()), signal.SIGKILL)
    (warning,) = (tmp_path / "output").read_text().splitlines()
    assert done.returncode == 0, warning
    assert warning.startswith("W&B failed (")
    check_that_no_metric_is_lost(tmp_path)
    assert float((tmp_path / "end_s").read_text()) < SLACK_S


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


def test_a_wandb_error_is_one_warning_and_the_metrics_file_continues(tmp_path: Path, caplog: Any) -> None:
    calls = []

    def refuse(call: str) -> None:
        calls.append(call)
        raise ConnectionError("wandb's process has ended\nand more")

    with tracker_on(tmp_path, refuse) as tracker:
        for step in range(3):
            tracker.log({"train/loss": 1.0}, step=step)
        tracker.summarize({"test/error_pct": 3.5})
        tracker.finish()
    assert calls == ["log", "finish 0"]
    (warning,) = caplog.records
    assert (warning.name, warning.levelno) == ("tenet", logging.WARNING)
    assert "(ConnectionError: wandb's process has ended)" in warning.getMessage()
    assert "\n" not in warning.getMessage()
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [0, 1, 2]


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A call that returns only when the test is over."""
    monkeypatch.setattr(wandb_run, "PATIENCE_S", 0.1)
    monkeypatch.setattr(wandb_run, "FAILED_FINISH_TIMEOUT_S", 0.2)
    over = threading.Event()
    yield lambda call: over.wait(10)
    over.set()


@pytest.mark.parametrize("fails", [False, True])
def test_a_hanging_call_delays_neither_logging_nor_the_end(
    fails: bool, hang: Any, tmp_path: Path, caplog: Any
) -> None:
    tracker = tracker_on(tmp_path, hang)
    start = time.monotonic()
    tracker.log({"train/loss": 1.0}, step=1)
    assert time.monotonic() - start < 0.1
    tracker.finish(exit_code=int(fails))
    assert time.monotonic() - start < 3
    assert "it did not finish within 0.2 s" in logged(caplog)[-1]
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1


def test_the_queue_to_a_hanging_wandb_is_bounded(
    hang: Any, tmp_path: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_run, "QUEUE_LIMIT", 3)
    tracker = tracker_on(tmp_path, hang)
    for step in range(10):
        tracker.log({"train/loss": 1.0}, step=step)
    (warning,) = logged(caplog)
    assert "it no longer accepts data" in warning
    tracker.finish()
    assert logged(caplog) == [warning]
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 10


@pytest.mark.slow
def test_a_file_of_wandb_that_no_longer_grows_is_one_warning_and_the_rest_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(wandb_run, "STALL_S", 0.0)
    (tmp_path / "wandb").mkdir()
    file = tmp_path / "wandb" / "run.wandb"
    file.write_text("header")
    rows: list[Any] = []

    def log(row: Any) -> None:
        rows.append(row)
        if len(rows) <= 3:  # then the disk is full
            file.write_text("a row" * (10 + len(rows)))

    settings = SimpleNamespace(sync_file=str(file))
    run = SimpleNamespace(log=log, finish=lambda **_: None, settings=settings, offline=True)
    wandb = WandbRun(tmp_path, lambda: run, open_timeout_s=1.0, finish_timeout_s=0.1)
    with Tracker(tmp_path, wandb_run=wandb) as tracker:
        for step in range(1, 8):
            tracker.log({"train/loss": 1.0}, step=step)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    (warning,) = caplog.messages
    assert warning.startswith("W&B failed (its own file no longer grows: the disk is full")
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 7


def test_records_that_wandb_writes_after_its_finish_returned_are_no_failure(
    tmp_path: Path, caplog: Any
) -> None:
    (tmp_path / "wandb").mkdir()
    file = tmp_path / "wandb" / "run.wandb"
    file.write_text("rows")
    timers: list[threading.Timer] = []

    def finish(**_: Any) -> None:
        timers.append(threading.Timer(0.3, lambda: file.write_text("rows and the exit code")))
        timers[0].start()

    settings = SimpleNamespace(sync_file=str(file))
    run = SimpleNamespace(log=lambda _: None, finish=finish, settings=settings, offline=True)
    WandbRun(tmp_path, lambda: run, open_timeout_s=1.0, finish_timeout_s=1.0).finish(exit_code=0)
    timers[0].join()
    assert caplog.messages == []
