"""train.py and evaluate.py as a user types them: in processes of their own, or in forks that start quickly."""

import os
import subprocess
import sys
from pathlib import Path

from tests.faults.commands import Command, Ended
from tests.faults.places import Fault

ROOT = Path(__file__).resolve().parents[1]
# 144 digits, two views each, in batches of 32: 9 steps an epoch.
TINY = [
    "experiment=quickstart",
    "dataset.fraction=0.1",
    "backbone.width=4",
    "tenet.groups=3",
    "tenet.start_step=4",
    "trainer.batch_size=32",
    "trainer.epochs=3",
    "trainer.log_every_steps=3",
]


def call(script: str, *arguments: str, cwd: Path, fails: bool = False) -> "subprocess.CompletedProcess[str]":
    """`python SCRIPT ARGUMENTS`, with one thread: test processes share the machine."""
    command = [sys.executable, str(ROOT / script), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done


def train(*arguments: str, cwd: Path, code: int = 0, fault: Fault | None = None) -> Ended:
    """The same in a fork of a process that has done the imports; it must end with this exit code."""
    return _run("train", *arguments, cwd=cwd, code=code, fault=fault)


def evaluate(*arguments: str, cwd: Path, code: int = 0, fault: Fault | None = None) -> Ended:
    return _run("evaluate", *arguments, cwd=cwd, code=code, fault=fault)


def _run(script: str, *arguments: str, cwd: Path, code: int, fault: Fault | None) -> Ended:
    ended = Command(script, *arguments, cwd=cwd, fault=fault).wait(timeout=120)
    assert ended.code == code, ended.output
    return ended
