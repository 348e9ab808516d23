"""Freed memory is reused instead of requested from the system again, and waiting threads yield their cores."""

import os
import platform
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tenet.device import name_user

USER_NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


def runs(*command: str) -> bool:
    """Whether the command is installed and succeeds."""
    return (
        shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0
    )


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


@pytest.mark.slow
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


IDENTITY = """
import getpass
from pathlib import Path
from tenet.entry import run_and_report_errors
run_and_report_errors(lambda: print(getpass.getuser(), Path.home()))
"""


@pytest.mark.skipif(not runs("unshare", "--map-user=54321", "true"), reason="needs user namespaces")
@pytest.mark.parametrize("home", [None, "", "/", "/somewhere"])
def test_a_user_without_a_passwd_entry_has_a_name_and_a_home(home: str | None, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in (*USER_NAMES, "HOME")}
    environment |= {"TMPDIR": str(tmp_path)} | ({} if home is None else {"HOME": home})
    command = ["unshare", "--map-user=54321", sys.executable, "-c", IDENTITY]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    expected = tmp_path / "tenet-home-54321" if home != "/somewhere" else home
    assert done.stdout == f"user-54321 {expected}\n"


def test_a_home_that_someone_else_could_write_to_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(user: int) -> None:
        raise KeyError(user)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", "")
    monkeypatch.setenv("LOGNAME", "someone")
    name_user()
    own = tmp_path / f"tenet-home-{os.getuid()}"
    assert os.environ["HOME"] == str(own)
    assert os.environ["LOGNAME"] == "someone"
    own.chmod(0o777)
    monkeypatch.setenv("HOME", "")
    name_user()
    private = Path(os.environ["HOME"])
    assert private != own
    assert private.stat().st_mode & 0o077 == 0


def test_a_known_user_keeps_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    name_user()
    assert "HOME" not in os.environ
