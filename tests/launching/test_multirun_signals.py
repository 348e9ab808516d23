"""Ctrl-C, SIGTERM and kill -9 of a multirun: no job outlives it."""

import os
import signal
from pathlib import Path

import pytest

from tests.launching.app import is_alive, seen, start, states, wait_for


@pytest.mark.parametrize("launcher", ["serial", "parallel"])
def test_ctrl_c_stops_the_running_jobs_once_and_prints_the_table(app: Path, launcher: str) -> None:
    process = start(app, "-m", f"launcher={launcher}", "seed=0,150,160,170", cwd=app.parent)
    runs = app.parent / "runs"
    running = ["seed150"] if launcher == "serial" else ["seed150", "seed160"]
    wait_for(lambda: all((runs / name / "seen.json").exists() for name in running))
    pids = [seen(runs / name)["pid"] for name in running]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "interrupted\n"
    stopped = [seen(runs / name)["stopped_by"] for name in running]
    assert stopped == (["KeyboardInterrupt"] if launcher == "serial" else ["Preempted"] * 2)
    assert [pid for pid in pids if is_alive(pid)] == []
    assert states(runs) == [
        "finished",
        *["interrupted"] * len(running),
        *["not started"] * (3 - len(running)),
    ]
    assert f"1 finished, {len(running)} interrupted, {3 - len(running)} not started\n" in output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGKILL, -signal.SIGKILL)])
def test_no_job_outlives_the_launcher(app: Path, number: signal.Signals, code: int) -> None:
    process = start(app, "-m", "launcher=parallel", "seed=150,160", cwd=app.parent)
    runs = app.parent / "runs"
    wait_for(lambda: len(list(runs.glob("seed*/seen.json"))) == 2)
    pids = [seen(runs / name)["pid"] for name in ("seed150", "seed160")]
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    wait_for(lambda: not any(map(is_alive, pids)), within_s=10)
    assert {seen(runs / name)["stopped_by"] for name in ("seed150", "seed160")} == {"Preempted"}
