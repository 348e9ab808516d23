"""Freed memory is reused instead of requested from the system again, and waiting threads yield their cores."""

import platform
import subprocess
import sys

import pytest

MEMORY_PROGRAM = """
import resource
from tenet.device import keep_freed_memory

keep_freed_memory()
import torch

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(10 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print([faults() for _ in range(5)][-1])
"""
THREADS_PROGRAM = """
import os
from tenet.entry import run_and_report_errors

run_and_report_errors(lambda: print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT")))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
@pytest.mark.parametrize(("environment", "kept"), [({}, True), ({"MALLOC_TRIM_THRESHOLD_": "131072"}, False)])
def test_freed_tensors_leave_their_memory_to_the_next_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], kept: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-c", MEMORY_PROGRAM], capture_output=True, text=True, check=True)
    pages = 5 * 40 * 2**20 // 4096
    assert (int(done.stdout) < pages / 100) == kept


@pytest.mark.parametrize(
    ("environment", "waits"),
    [
        ({}, "passive 1000"),
        ({"OMP_WAIT_POLICY": "active"}, "active None"),
        ({"GOMP_SPINCOUNT": "7"}, "None 7"),
    ],
)
def test_threads_wait_awake_for_a_moment_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], waits: str
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-c", THREADS_PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == waits.split()
