"""One GPU per job: real lock files, real processes, and a fake nvidia-smi."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tenet.launching.gpu_pool import find_gpus, hold_gpu

# Holds a GPU, prints which, and releases it at the end of its input.
HOLDER = """
import logging, sys
from pathlib import Path
from tenet.launching.gpu_pool import hold_gpu
logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
folder, jobs_per_gpu, *gpus = sys.argv[1:]
with hold_gpu(dict(zip(gpus, gpus)), jobs_per_gpu=int(jobs_per_gpu), folder=Path(folder)) as gpu:
    print(gpu, flush=True)
    sys.stdin.read()
"""

NvidiaSmi = Callable[[str], None]


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NvidiaSmi:
    """Return a function that installs an nvidia-smi with the given body. CUDA_VISIBLE_DEVICES is not set."""
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
        # By index, and by the first characters of the UUID: both lock the same GPU.
        ("1", {"1": "GPU-bbb"}),
        ("1,0", {"1": "GPU-bbb", "0": "GPU-aaa"}),
        ("GPU-b, GPU-aaa", {"GPU-b": "GPU-bbb", "GPU-aaa": "GPU-aaa"}),
        # CUDA may know a GPU that nvidia-smi does not list.
        ("MIG-ccc,7", {"MIG-ccc": "MIG-ccc", "7": "7"}),
        # CUDA stops at the first invalid name.
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
    """Wait until a process holds a GPU, and return its name."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: "subprocess.Popen[str]") -> str:
    """Let a process release its GPU, and return its log."""
    return process.communicate(timeout=20)[1]


def test_each_process_holds_another_gpu_and_the_next_one_waits(tmp_path: Path) -> None:
    first, second = hold(tmp_path, "0", "1"), hold(tmp_path, "0", "1")
    assert {taken(first), gpu := taken(second)} == {"0", "1"}
    third = hold(tmp_path, "0", "1")
    assert third.stderr is not None
    assert third.stderr.readline() == "waiting for a GPU: other jobs hold all of them (0, 1)\n"
    time.sleep(1.2)  # it tries again every half second
    assert third.poll() is None
    assert end(second) == ""
    assert taken(third) == gpu
    assert end(third) == ""
    assert end(first) == ""


def test_a_killed_process_releases_its_gpu(tmp_path: Path) -> None:
    first = hold(tmp_path, "0")
    assert taken(first) == "0"
    second = hold(tmp_path, "0")
    first.send_signal(signal.SIGKILL)
    assert taken(second) == "0"
    assert first.wait() == -signal.SIGKILL
    end(second)
    first.communicate()


def test_jobs_share_a_gpu_once_every_gpu_has_a_job(tmp_path: Path) -> None:
    processes = [hold(tmp_path, "0", "1", jobs_per_gpu=2)]
    first = taken(processes[0])
    processes.append(hold(tmp_path, "0", "1", jobs_per_gpu=2))
    assert taken(processes[1]) != first
    processes += [hold(tmp_path, "0", "1", jobs_per_gpu=2) for _ in range(2)]
    assert {taken(processes[2]), taken(processes[3])} == {"0", "1"}
    for process in processes:
        end(process)


def test_a_gpu_is_released_after_an_error_even_if_a_forked_process_lives_on(tmp_path: Path) -> None:
    gpus = {"0": "GPU-aaa"}
    with suppress(ZeroDivisionError), hold_gpu(gpus, jobs_per_gpu=1, folder=tmp_path) as gpu:
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
    """Return the open files of the folder, which a forked process would inherit."""
    return [
        int(link.name)
        for link in Path("/proc/self/fd").iterdir()
        if link.is_symlink() and str(link.readlink()).startswith(str(folder))
    ]


def test_the_folder_of_the_locks_is_accessible_to_this_user_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with hold_gpu({"0": "0"}, jobs_per_gpu=1):
        folder = tmp_path / f"tenet-gpus-{os.getuid()}"
        assert folder.stat().st_mode & 0o777 == 0o700
        assert [path.name for path in folder.iterdir()] == ["0.0.lock"]
