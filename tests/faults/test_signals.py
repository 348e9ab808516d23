"""SIGTERM, SIGUSR1 and SIGINT: the run finishes its step and writes a checkpoint, and the same command continues it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.commands import STEPS, TINY, Command, assert_same_run, step_of, train, wait_for
from tests.faults.places import Fault
from tests.tracking.wandb_offline import read_wandb_file, wandb_files

PREEMPTED, INTERRUPTED = 75, 130
STOPPED = "stopped by SIGTERM: start the same command again to continue\n"
ROOT = Path(__file__).resolve().parents[2]
# Sends a signal to itself at the first import of a module of a package after the signal handlers are set.
WITHIN_AN_IMPORT = """
import os, runpy, signal, sys

def listen(event, details):
    waits = signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    if event == "import" and details[0].startswith(package) and waits and not sent:
        sent.append(details[0])
        os.kill(os.getpid(), int(number))

sent, (package, number) = [], sys.argv[1:3]
sys.addaudithook(listen)
sys.argv = sys.argv[3:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# The grace period of clusters.
GRACE_S = 10


def test_a_run_stopped_by_signals_at_many_points_ends_as_if_never_stopped(whole: Path, here: Path) -> None:
    for fault, code, step in [
        (Fault("usr1", "data"), PREEMPTED, 0),
        (Fault("hup", "evaluation"), PREEMPTED, 4),
        # Continues with that evaluation: its line is written, but the checkpoint that refers to the line is not.
        (Fault("kill", "closing"), -signal.SIGKILL, 4),
        (Fault("term", "half checkpoint.pt"), PREEMPTED, 5),
        (Fault("int", "descent", 11), INTERRUPTED, STEPS),
        # During the checkpoint after the last evaluation: only the end of the run is left to do.
        (Fault("term", "half checkpoint.pt"), PREEMPTED, STEPS),
        (Fault("usr1", "weights"), PREEMPTED, STEPS),
    ]:
        ended = train(cwd=here, fault=fault)
        assert ended.code == code, (fault, ended.output)
        assert "Traceback" not in ended.output
        assert ("continue: " in ended.output) == (code > 0)
        assert step_of(here / "run") == step, fault
        assert not (here / "run" / "weights.safetensors").exists()
    assert train(cwd=here).code == 0
    assert_same_run(here / "run", whole)


def test_a_second_sigint_does_not_wait_for_the_step(here: Path) -> None:
    command = Command("train", *TINY, cwd=here, fault=Fault("sleep", "inhibited"))
    wait_for((here / "asleep").exists)
    command.send(signal.SIGINT)
    time.sleep(0.2)
    start = time.monotonic()
    command.send(signal.SIGINT)
    ended = command.wait()
    assert time.monotonic() - start < 5
    assert ended.code == INTERRUPTED
    assert "Traceback" not in ended.output
    assert step_of(here / "run") == 3, "the previous checkpoint"


def test_sigterm_to_all_processes_ends_the_run_and_its_wandb_run_within_the_grace_period(here: Path) -> None:
    settings = (
        "tracking=wandb",
        "tracking.mode=offline",
        "trainer.epochs=1000",
        "trainer.checkpoint_every_steps=null",
    )
    command = Command("train", *TINY, *settings, cwd=here)
    wait_for((here / "run" / "checkpoint.pt").exists)
    start = time.monotonic()
    command.send(signal.SIGTERM, to_group=True)
    ended = command.wait()
    assert time.monotonic() - start < GRACE_S
    assert ended.code == PREEMPTED, ended.output
    assert ended.output.endswith("stopped by SIGTERM: start the same command again to continue\n")
    (file,) = wandb_files(here / "run")
    records = read_wandb_file(file)
    assert records.exit_code != 0
    assert step_of(here / "run") >= records.history[-1]["step"] > 0


# torch imports NumPy and swallows exceptions that are raised during that import.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "number", "told", "code", "last"),
    [
        ("hydra.", signal.SIGTERM, "", PREEMPTED, STOPPED),
        ("numpy.", signal.SIGINT, "interrupted; continue: the same command\n", INTERRUPTED, "interrupted\n"),
    ],
)
def test_a_signal_within_an_import_stops_the_run_before_it_begins(
    here: Path, package: str, number: int, told: str, code: int, last: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITHIN_AN_IMPORT, package, str(int(number)), ROOT / "train.py", *TINY],
        cwd=here, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == told
    assert ended.stderr == last


@pytest.mark.slow
def test_a_signal_within_the_import_of_torch_stops_an_evaluation(whole: Path, here: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITHIN_AN_IMPORT, "numpy.", str(int(signal.SIGTERM)), ROOT / "evaluate.py", f"run={whole}",
         "output=report.json"],
        cwd=here, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == PREEMPTED, ended.stderr
    assert ended.stderr == STOPPED
    assert not (here / "report.json").exists()
