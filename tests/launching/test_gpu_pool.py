"""One GPU a job: real lock files, real processes, and an nvidia-smi that says what a test wants."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tenet.launching.gpu_pool import GpuPool, find_gpus

# Takes a GPU of the pool, says which, and keeps it until its input ends.
HOLDER = """
import logging, sys
from pathlib import Path
from tenet.launching.gpu_pool import GpuPool
logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
folder, jobs_per_gpu, *gpus = sys.argv[1:]
with GpuPool(dict(zip(gpus, gpus)), jobs_per_gpu=int(jobs_per_gpu), folder=Path(folder)).take() as gpu:
    print(gpu, flush=True)
    sys.stdin.read()
"""

NvidiaSmi = Callable[[str], None]


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NvidiaSmi:
    """Put an nvidia-smi of the given body on the PATH; there is no other, and no CUDA_VISIBLE_DEVICES."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(body: str) -> None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)

    return install


TWO = """[ "$*" = "--query-gpu=uuid --format=csv,noheader" ] && printf 'GPU-aaa\\nGPU-bbb\\n'"""


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [
        (None, {"GPU-aaa": "GPU-aaa", "GPU-bbb": "GPU-bbb"}),
        # By number, and by the start of the UUID: the lock is the GPU's, however it is called.
        ("1", {"1": "GPU-bbb"}),
        ("1,0", {"1": "GPU-bbb", "0": "GPU-aaa"}),
        ("GPU-b, GPU-aaa", {"GPU-b": "GPU-bbb", "GPU-aaa": "GPU-aaa"}),
        # What nvidia-smi doesn't list, CUDA may know.
        ("MIG-ccc,7", {"MIG-ccc": "MIG-ccc", "7": "7"}),
        # CUDA reads as far as the first that is none.
        ("0,-1,1", {"0": "GPU-aaa"}),
        ("-1", {}),
        ("", {}),
    ],
)
def test_gpus_are_those_of_cuda_visible_devices_or_all(
    nvidia_smi: NvidiaSmi, monkeypatch: pytest.MonkeyPatch, visible: str | None, gpus: dict[str, str]
) -> None:
    nvidia_smi(TWO)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert find_gpus() == gpus
    assert list(find_gpus()) == list(gpus)


@pytest.mark.parametrize("body", ["exit 9", "echo 'No devices were found'; exit 6", ""])
def test_without_a_working_driver_there_are_no_gpus(nvidia_smi: NvidiaSmi, body: str) -> None:
    assert find_gpus() == {}
    nvidia_smi(body)
    assert find_gpus() == {}


def hold(folder: Path, *gpus: str, jobs_per_gpu: int = 1) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), str(jobs_per_gpu), *gpus],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def taken(process: "subprocess.Popen[str]") -> str:
    """The GPU that a process has got; waits for it."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: "subprocess.Popen[str]") -> str:
    """Let a process give its GPU back; what it logged."""
    return process.communicate(timeout=20)[1]


def test_each_process_gets_a_gpu_of_its_own_and_the_next_one_waits_with_one_line(tmp_path: Path) -> None:
    first, second = hold(tmp_path, "0", "1"), hold(tmp_path, "0", "1")
    assert {taken(first), gpu := taken(second)} == {"0", "1"}
    third = hold(tmp_path, "0", "1")
    assert third.stderr is not None
    assert third.stderr.readline() == "waiting for a GPU: other jobs hold all there are (0, 1)\n"
    time.sleep(1.2)  # it looks again every half second
    assert third.poll() is None
    assert end(second) == ""
    assert taken(third) == gpu
    assert end(third) == ""
    assert end(first) == ""


def test_a_killed_process_gives_its_gpu_back(tmp_path: Path) -> None:
    first = hold(tmp_path, "0")
    assert taken(first) == "0"
    second = hold(tmp_path, "0")
    first.send_signal(signal.SIGKILL)
    assert taken(second) == "0"
    assert first.wait() == -signal.SIGKILL
    end(second)
    first.communicate()


def test_jobs_share_a_gpu_when_each_has_one_already(tmp_path: Path) -> None:
    processes = [hold(tmp_path, "0", "1", jobs_per_gpu=2)]
    first = taken(processes[0])
    processes.append(hold(tmp_path, "0", "1", jobs_per_gpu=2))
    assert taken(processes[1]) != first
    processes += [hold(tmp_path, "0", "1", jobs_per_gpu=2) for _ in range(2)]
    assert {taken(processes[2]), taken(processes[3])} == {"0", "1"}
    for process in processes:
        end(process)


def test_a_gpu_is_given_back_after_an_error_and_though_a_forked_process_lives_on(tmp_path: Path) -> None:
    pool = GpuPool({"0": "GPU-aaa"}, folder=tmp_path)
    with suppress(ZeroDivisionError), pool.take() as gpu:
        worker = subprocess.Popen(["sleep", "15"], pass_fds=_descriptors(tmp_path))
        raise ZeroDivisionError
    assert gpu == "0"
    other = hold(tmp_path, "GPU-aaa")
    assert taken(other) == "GPU-aaa"
    end(other)
    assert worker.poll() is None
    worker.kill()
    worker.wait()


def _descriptors(folder: Path) -> list[int]:
    """The open files of the folder, which a forked process would inherit."""
    return [
        int(link.name)
        for link in Path("/proc/self/fd").iterdir()
        if link.is_symlink() and str(link.readlink()).startswith(str(folder))
    ]


def test_the_locks_are_in_a_folder_that_only_this_user_may_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    pool = GpuPool({"0": "0"})
    with pool.take():
        folder = tmp_path / f"tenet-gpus-{os.getuid()}"
        assert folder.stat().st_mode & 0o777 == 0o700
        assert [path.name for path in folder.iterdir()] == ["0.0.lock"]


def test_capacity_is_jobs_on_all_gpus() -> None:
    assert GpuPool({"0": "0", "1": "1"}, jobs_per_gpu=3).capacity == 6
    assert GpuPool({}).capacity == 0
