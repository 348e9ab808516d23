"""Processes that can't find each other, that are ended, or that wait in vain."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tenet.distributed.watch import Watch
from tenet.files.atomic import hold
from tests.distributed import kills
from tests.faults.commands import TINY, train, wait_for, write_data


@pytest.fixture
def environment(monkeypatch):
    def set_variables(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    return set_variables


@pytest.fixture
def port():
    """A port that another program listens at, until the test closes it."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server


@pytest.mark.slow
def test_leftover_variables_are_named_in_one_line(tmp_path, environment, port):
    write_data(tmp_path)
    environment(RANK=1, LOCAL_RANK=0, WORLD_SIZE=2, MASTER_ADDR="127.0.0.1")
    free = "trainer.timeout_minutes=0.01"
    number = port.getsockname()[1]

    def error(*arguments):
        ended = train(*arguments, cwd=tmp_path)
        assert ended.code == 1
        assert "Traceback" not in ended.output
        return ended.output.strip().splitlines()[-1]

    assert "MASTER_PORT=missing in the environment: must be a port" in error()
    environment(RANK=2, MASTER_PORT=number)
    assert "RANK=2 in the environment: must be below WORLD_SIZE=2" in error()
    environment(RANK=0)
    assert f"MASTER_PORT={number} is taken on this machine" in error()
    port.close()
    assert "rank 1 of 2 did not join within 0.01 min (timeout_minutes)" in error(free)
    environment(RANK=1)
    assert "rank 0 of 2 did not join within 0.01 min (timeout_minutes)" in error(free)


WAITING = """
import os, sys, time
from tenet.distributed import join, watch
from tenet.run.signals import StopSignals
watch.SAY_AFTER_S, watch.BEAT_S, watch.STOP_WITHIN_S, watch.POLL_S = 1, 0.2, 1, 0.1
with StopSignals() as stop, join("cpu", timeout_minutes=0.1, received=lambda: stop.received) as group:
    group.broadcast(None)
    print("joined", flush=True)
    if group.rank == 1:
        time.sleep(60)
    with stop.postponed():
        group.any(False)
"""


@pytest.fixture
def pair(port):
    """Two processes that have joined; the second never communicates again."""
    number = port.getsockname()[1]
    port.close()
    variables = {**os.environ, "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                 "MASTER_PORT": str(number)}  # fmt: skip
    members = [
        subprocess.Popen(
            [sys.executable, "-c", WAITING], env={**variables, "RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=kills.ROOT,
        ) for rank in range(2)
    ]  # fmt: skip
    assert [member.stdout.readline() for member in members] == ["joined\n"] * 2
    yield members
    for member in members:
        member.kill()
        member.communicate()


@pytest.mark.slow
def test_a_line_says_which_process_is_late_and_sigterm_ends_the_wait(pair):
    waiting, _ = pair
    assert waiting.stderr.readline() == "waiting for rank 1 of 2, for 0 min\n"
    waiting.send_signal(signal.SIGTERM)
    assert (
        waiting.stderr.readline()
        == "stopped by SIGTERM while waiting for other processes, without a checkpoint\n"
    )
    assert waiting.wait(5) == 75


@pytest.mark.slow
def test_a_wait_has_a_limit(pair):
    waiting, _ = pair
    assert waiting.wait(30) == 1
    assert "PeerError: another process of this run has not answered for 0.1 min" in waiting.stderr.read()


@pytest.mark.alone
@pytest.mark.parametrize("processes", [1, 2])
def test_workers_end_with_their_launcher_and_leave_the_run_free(tmp_path, processes):
    write_data(tmp_path)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(kills.ROOT)}
    launcher = subprocess.Popen(
        [*command, str(kills.ROOT / "train.py"), *TINY, "trainer.epochs=10000", "tracking=none"],
        cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    run = tmp_path / "run"
    try:
        wait_for((run / "checkpoint.pt").exists)
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text()
        workers = [Path(f"/proc/{pid}") for pid in children.split()]
        assert len(workers) == processes
    finally:
        launcher.kill()
        launcher.wait()
    try:
        wait_for(lambda: not any(worker.exists() for worker in workers), timeout=30)
    finally:
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(int(worker.name), signal.SIGKILL)
    lock = hold(run / ".lock")
    assert lock is not None
    lock.close()


@pytest.mark.alone
def test_launchers_on_two_machines_go_on_after_any_of_their_processes_is_killed(tmp_path):
    kills.write_images(tmp_path / "images")
    launchers = kills.run(tmp_path, "run", machines=2, processes=1)
    try:
        for launcher in launchers.running:  # the one of rank 0 too
            wait_for((tmp_path / "run" / "checkpoint.pt").exists)
            time.sleep(0.2)
            children = f"/proc/{launcher.pid}/task/{launcher.pid}/children"
            os.kill(int(Path(children).read_text().split()[0]), signal.SIGKILL)
            time.sleep(1)
            wait_for(lambda: len(launchers.workers()) == 2)
        assert launchers.wait(120)
        assert [launcher.returncode for launcher in launchers.running] == [0, 0]
    finally:
        launchers.kill()
    assert launchers.log.read_text().count("continuing run") >= 1


def test_the_thread_of_a_watch_ends_with_it():
    """Python aborts if its exit meets a thread within a call of torch's store."""
    before = threading.active_count()
    watch = Watch(received=lambda: 0)
    watch.start()
    assert threading.active_count() == before + 1
    watch.stop()
    assert threading.active_count() == before
