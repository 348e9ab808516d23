"""The process that trains a trial: waiting, interrupts, kills and the reason of a failure."""

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tenet.files.json import write_json
from tenet.run.folder import RunFolder
from tenet.run.metrics_file import MetricsFile
from tenet.search import loop as module
from tenet.search.loop import TrainingProcess

ENTER_THE_FOLDER = """
import sys
from pathlib import Path
from tenet.run.folder import RunFolder
with RunFolder(Path(sys.argv[1])):
    print("trained")
"""
IGNORE_INTERRUPTS = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""
FAIL_LOUDLY = """
import sys
print("error: the reason", file=sys.stderr)
print("and some more")
sys.exit(1)
"""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[IO[bytes]]:
    with (tmp_path / "trial-0.log").open("ab") as file:
        yield file


def start(code: str, log: IO[bytes], run_dir: Path) -> TrainingProcess:
    return TrainingProcess(
        [sys.executable, "-c", code, str(run_dir)], run_dir=run_dir, log=log, environment={}
    )


def end_of(process: TrainingProcess) -> int:
    deadline = time.monotonic() + 30
    while (code := process.poll()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return code


def test_a_run_folder_that_another_process_holds_is_waited_for(
    tmp_path: Path, log: IO[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    with RunFolder(tmp_path / "run"):
        process = start(ENTER_THE_FOLDER, log, tmp_path / "run")
        while "another process is working in" not in Path(log.name).read_text():
            assert process.poll() is None
            time.sleep(0.01)
        assert process.poll() is None
    assert end_of(process) == 0
    assert Path(log.name).read_text().endswith("trained\n")


def test_a_process_that_ignores_an_interrupt_is_killed_after_a_grace_period(
    tmp_path: Path, log: IO[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.1)
    process = start(IGNORE_INTERRUPTS, log, tmp_path)
    while "ready" not in Path(log.name).read_text():
        time.sleep(0.01)
    process.interrupt()
    assert end_of(process) == -9
    assert process.reason() == "killed by SIGKILL; ready"


def test_the_reason_is_the_error_or_else_the_last_output(tmp_path: Path, log: IO[bytes]) -> None:
    for code, reason in ((FAIL_LOUDLY, "error: the reason"), ("raise KeyError(3)", "KeyError: 3")):
        process = start(code, log, tmp_path)
        assert end_of(process) == 1
        assert process.reason() == reason
    silent = start("import sys; sys.exit(3)", log, tmp_path)
    assert end_of(silent) == 3
    assert silent.reason() == "no output"


def test_evaluations_and_results_are_read_from_the_run_folder_while_it_fills(
    tmp_path: Path, log: IO[bytes]
) -> None:
    process = start("", log, tmp_path)
    assert process.evaluations("validation/error_pct") == []
    assert math.isnan(process.result("validation/error_pct"))
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    metrics.write({"train/loss": 2.0}, step=1)
    metrics.write({"validation/error_pct": 50.0}, step=2)
    metrics.write({"validation/error_pct": math.nan}, step=4)
    first, second = process.evaluations("validation/error_pct")
    assert first == 50
    assert math.isnan(second)
    write_json(tmp_path / "summary.json", {"validation/error_pct": None})
    assert math.isnan(process.result("validation/error_pct"))
    write_json(tmp_path / "summary.json", {"validation/error_pct": 12.5})
    assert process.result("validation/error_pct") == 12.5
    end_of(process)
