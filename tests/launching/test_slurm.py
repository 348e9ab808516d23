"""Runs that Slurm starts: the real command against a Slurm of this machine, which is in fake_slurm/."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launching.app import ROOT, call, results, seen, start, states, wait_for

COMMANDS = ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol")
SLURM = ["launcher=slurm", "launcher.poll_seconds=0.2"]


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine with Slurm, whose records are in the folder $FAKE_SLURM."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "slurm").mkdir()
    for name in COMMANDS:
        script = tmp_path / "bin" / name
        fake = ROOT / "tests" / "launching" / "fake_slurm" / "slurm.py"
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {fake} {name} "$@"\n')
        script.chmod(0o755)
    return {"FAKE_SLURM": str(tmp_path / "slurm"), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


def records(slurm: dict[str, str], name: str = "log") -> str:
    return (Path(slurm["FAKE_SLURM"]) / name).read_text()


def test_each_job_of_an_array_ends_and_a_time_limit_ends_none(app: Path, slurm: dict[str, str]) -> None:
    # Seed 22 ends in its third start only. Four seconds are enough for the others, and a limit does them no harm.
    arguments = [
        "-m",
        *SLURM,
        "launcher.jobs=2",
        "launcher.minutes=4",
        "launcher.stop_seconds=60",
        "seed=22,0,1,3,0",
    ]
    output, errors = call(app, *arguments, cwd=app.parent, rc=1, FAKE_MINUTE_S="1", FAKE_LIMITS="2", **slurm)
    jobs = results(app.parent / "runs")
    assert [job["state"] for job in jobs] == [
        "finished", "finished", "failed", "failed", "same as another",
    ]  # fmt: skip
    assert [job["result"] for job in jobs[:2]] == [2.2, 0.0]
    assert [job["error"] for job in jobs[2:4]] == [
        "seed=1 is refused; choose another", "Slurm ended it: failed",
    ]  # fmt: skip
    assert [job["cluster"] for job in jobs] == [
        "101_0 completed",
        "101_1 completed",
        "101_2 failed",
        "101_3 failed",
        None,
    ]
    assert errors == "error: 2 of 5 jobs failed\n"
    assert records(slurm).count("REQUEUED 101_0\n") == 2
    assert records(slurm).count(", 2 running\n") >= 3
    assert ", 3 running\n" not in records(slurm)
    log = app.parent / "runs" / "slurm" / "101_2_0_log.out"
    assert f"#2 seed=1: Slurm job 101_2, log {log}\n" in output
    assert f"log of #2: {log}\n" in output
    assert "error: seed=1 is refused; choose another\n" in log.read_text()
    assert [seen(app.parent / job["folder"])["num"] for job in jobs[:2]] == [0, 0]


def test_a_repeated_command_waits_for_the_jobs_that_an_interrupted_one_left(
    app: Path, slurm: dict[str, str]
) -> None:
    runs = app.parent / "runs"
    command = ["-m", *SLURM, "seed=21,22"]
    first = start(app, *command, cwd=app.parent, **slurm)
    wait_for(lambda: len(list(runs.glob("seed*/seen.json"))) == 2)
    first.send_signal(signal.SIGINT)
    output, errors = first.communicate(timeout=60)
    assert (first.returncode, errors) == (130, "interrupted\n")
    assert states(runs) == ["left in the queue"] * 2
    assert "scancel 101_0 101_1\n" in output
    second = start(app, *command, cwd=app.parent, **slurm)
    wait_for(lambda: len(list(runs.glob("multirun-*"))) == 2)
    (Path(slurm["FAKE_SLURM"]) / "101_0.state").write_text("PREEMPTED")
    subprocess.run(["scancel", "101_1"], env=os.environ | slurm, check=True)
    output, errors = second.communicate(timeout=60)
    assert (second.returncode, errors) == (1, "error: 1 of 2 jobs failed\n")
    assert "#0 seed=21: Slurm job 101_0, log " in output
    jobs = results(runs)
    assert (jobs[0]["state"], jobs[0]["result"]) == ("finished", 2.1)
    assert (jobs[1]["state"], jobs[1]["error"]) == ("failed", "Slurm ended it: cancelled")
    assert records(slurm, "last") == "101"
    assert records(slurm).count("start 101_0") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["launcher.partition=closed"], "sbatch: invalid partition specified: closed"),
        (["launcher.minutes=2"], "launcher.stop_seconds=120 leaves no time to train in minutes=2; lower it"),
        (["-m", "PATH"], "launcher: there is no sbatch on PATH; start this command on a machine of the cluster"),
        (["hydra.run.dir=here"], "hydra.run.dir: this launcher needs hydra.sweep.dir and hydra.sweep.subdir in its place"),
    ],
    ids=["refused", "minutes", "no Slurm", "folder"],
)  # fmt: skip
def test_what_slurm_can_not_run_is_refused_in_one_line(
    app: Path, slurm: dict[str, str], arguments: list[str], message: str
) -> None:
    if "PATH" in arguments:
        slurm["PATH"] = os.environ["PATH"]
        arguments.remove("PATH")
    process = start(app, *SLURM, *arguments, cwd=app.parent, **slurm)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert errors.startswith(f"error: {message}")
    assert errors.count("\n") == 1


TINY = [
    "experiment=quickstart", "dataset.fraction=0.1", "backbone.width=4", "trainer.epochs=3", "trainer.batch_size=4",
    "trainer.device=cpu", "tracking=none",
]  # fmt: skip


def test_the_number_of_processes_that_the_launcher_starts_is_checked(
    tmp_path: Path, slurm: dict[str, str]
) -> None:
    arguments = [*TINY, *SLURM, "launcher.gpus=2", "trainer.processes=3"]
    call(ROOT / "train.py", *arguments, cwd=tmp_path, rc=1, **slurm)
    (job,) = results(tmp_path / "runs")
    assert job["error"].startswith(
        "trainer.processes=3, but the launcher starts 2; change launcher.nodes and"
    )


@pytest.mark.slow
def test_two_nodes_that_meet_two_time_limits_end_with_the_bits_of_a_run_without_one(
    tmp_path: Path, slurm: dict[str, str]
) -> None:
    weights = []
    for limits in ("2", "0"):
        folder = tmp_path / limits
        folder.mkdir()
        arguments = [*TINY, *SLURM, "launcher.nodes=2", "launcher.minutes=14", "launcher.stop_seconds=60"]
        environment = {"OMP_NUM_THREADS": "1", "FAKE_MINUTE_S": "1", "FAKE_LIMITS": limits}
        call(ROOT / "train.py", *arguments, cwd=folder, **environment, **slurm)
        (job,) = results(folder / "runs")
        assert job["overrides"][-1] == "trainer.processes=2"
        weights.append((folder / job["folder"] / "weights.safetensors").read_bytes())
    assert records(slurm).count("REQUEUED 101\n") == 2
    assert weights[0] == weights[1]
