"""Runs that Slurm starts: the real command against a Slurm of this machine, which is in fake_slurm/."""

import os
import signal
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.launching.app import ROOT, call, results, seen, start, states, wait_for

SLURM = ["launcher=slurm", "launcher.poll_seconds=0.4"]


def records(slurm: dict[str, str], name: str = "log") -> str:
    return (Path(slurm["FAKE_SLURM"]) / name).read_text()


def has_logged(folder: Path, step: int) -> bool:
    return any(f'"step": {step}' in path.read_text() for path in folder.glob("runs/*/metrics.jsonl"))


@pytest.mark.slow
def test_each_job_of_an_array_ends_and_a_time_limit_ends_none(app: Path, slurm: dict[str, str]) -> None:
    # Seed 21 asks for a time limit, and ends in its second start.
    options = [
        "launcher.jobs=2",
        'launcher.setup=["export A=1"]',
        'launcher.sbatch=["--exclusive", "--comment=two words"]',
    ]
    output, errors = call(app, "-m", *SLURM, *options, "seed=21,1,3,1", cwd=app.parent, rc=1, **slurm)
    script = (app.parent / "runs" / "slurm" / "101_submission.sh").read_text()
    for line in ("--exclusive", "--comment='two words'", "--time=240", "--signal=USR1@120", "--requeue"):
        assert f"\n#SBATCH {line}\n" in script
    assert script.index("\nexport A=1\n") < script.index("submitit.core")
    jobs = results(app.parent / "runs")
    assert [job["state"] for job in jobs] == ["finished", "failed", "failed", "same as another"]
    assert jobs[0]["result"] == 2.1
    assert [job["error"] for job in jobs[1:3]] == [
        "seed=1 is refused; choose another",
        "Slurm ended it: failed",
    ]
    assert [job["cluster"] for job in jobs] == ["101_0 completed", "101_1 failed", "101_2 failed", None]
    assert errors == "error: 2 of 4 jobs failed\n"
    assert records(slurm).count("REQUEUED 101_0\n") == 1
    assert ", 2 running\n" in records(slurm)
    assert ", 3 running\n" not in records(slurm)
    log = app.parent / "runs" / "slurm" / "101_1_0_log.out"
    assert f"#1 seed=1: Slurm job 101_1, log {log}\n" in output
    assert f"log of #1: {log}\n" in output
    assert "error: seed=1 is refused; choose another\n" in log.read_text()
    assert seen(app.parent / "runs" / "seed21")["num"] is None  # a command of its own


@pytest.mark.alone
def test_a_repeated_command_waits_for_the_jobs_that_an_interrupted_one_left(
    app: Path, slurm: dict[str, str]
) -> None:
    runs = app.parent / "runs"
    command = ["-m", *SLURM, "seed=31,32"]
    first = start(app, *command, cwd=app.parent, **slurm)
    wait_for(lambda: len(list(runs.glob("seed*/seen.json"))) == 2)
    first.send_signal(signal.SIGINT)
    output, errors = first.communicate(timeout=60)
    assert (first.returncode, errors) == (130, "interrupted\n")
    assert states(runs) == ["left in the queue"] * 2
    assert "scancel 101_0 101_1\n" in output
    second = start(app, *command, cwd=app.parent, **slurm)
    assert second.stdout is not None
    assert "#0 seed=31: Slurm job 101_0, log " in second.stdout.readline()
    assert "#1 seed=32: Slurm job 101_1, log " in second.stdout.readline()
    (Path(slurm["FAKE_SLURM"]) / "101_0.state").write_text("PREEMPTED")
    subprocess.run(["scancel", "101_1"], env=os.environ | slurm, check=True)
    _, errors = second.communicate(timeout=60)
    assert (second.returncode, errors) == (1, "error: 1 of 2 jobs failed\n")
    jobs = results(runs)
    assert (jobs[0]["state"], jobs[0]["result"]) == ("finished", 3.1)
    assert (jobs[1]["state"], jobs[1]["error"]) == ("failed", "Slurm ended it: cancelled")
    assert records(slurm, "last") == "101"
    assert records(slurm).count("start 101_0,") == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["launcher.partition=closed"], "sbatch: invalid partition specified: closed"),
        (["launcher.minutes=2"], "launcher.stop_seconds=120 leaves no time to train in minutes=2; lower it"),
        (["-m", "PATH"], "launcher: there is no sbatch on PATH; start this command on a machine"),
        (["-m", "submitit"], "launcher: submitit is not installed; run pip install 'tenet-training[slurm]'"),
        (["hydra.run.dir=here"], "hydra.run.dir: this launcher needs hydra.sweep.dir"),
    ],
    ids=["refused", "minutes", "no Slurm", "no submitit", "folder"],
)  # fmt: skip
def test_what_slurm_can_not_run_is_refused_in_one_line(
    app: Path, slurm: dict[str, str], arguments: list[str], message: str
) -> None:
    if "PATH" in arguments:
        slurm["PATH"] = os.environ["PATH"]
        arguments.remove("PATH")
    if "submitit" in arguments:
        (app.parent / "submitit.py").write_text("raise ImportError")
        arguments.remove("submitit")
    process = start(app, *SLURM, *arguments, cwd=app.parent, **slurm)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert errors.startswith(f"error: {message}")
    assert errors.count("\n") == 1


TINY = [
    "experiment=quickstart", "dataset.fraction=0.1", "backbone.width=4", "trainer.epochs=2", "trainer.batch_size=8",
    "trainer.log_every_steps=10", "trainer.device=cpu", "tracking=none",
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


@pytest.mark.alone
def test_two_nodes_that_meet_two_time_limits_end_with_the_bits_of_a_run_without_one(
    tmp_path: Path, slurm: dict[str, str]
) -> None:
    def train(number: str, machines: str, *, limits: Sequence[int]) -> bytes:
        """Train as job `number`, with a time limit after each of these steps, and return the weights."""
        folder, limit = tmp_path / number, Path(slurm["FAKE_SLURM"]) / f"{number}.limit"
        folder.mkdir()
        arguments = [*TINY, *SLURM, machines]
        process = start(ROOT / "train.py", *arguments, cwd=folder, OMP_NUM_THREADS="1", **slurm)
        for step in limits:
            wait_for(partial(has_logged, folder, step), within_s=120)
            limit.touch()
            wait_for(lambda: not limit.exists())
        output, errors = process.communicate(timeout=200)
        assert process.returncode == 0, output + errors
        (job,) = results(folder / "runs")
        assert job["overrides"][-1] == "trainer.processes=2"
        return (folder / job["folder"] / "weights.safetensors").read_bytes()

    uninterrupted = train("101", "launcher.gpus=2", limits=[])
    assert train("102", "launcher.nodes=2", limits=[10, 30]) == uninterrupted
    assert records(slurm).count("REQUEUED 102\n") == 2
