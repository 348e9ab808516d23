"""Multiruns as a user starts them: every job ends, and no job stops the others."""

import json
import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.launching.app import ROOT, call, results, seen, start


def test_a_failed_job_does_not_stop_the_others(app: Path) -> None:
    output, errors = call(app, "-m", "seed=0,1,2,5,7,8,8", cwd=app.parent, rc=1)
    jobs = results(app.parent / "runs")
    assert [job["state"] for job in jobs] == [
        "finished", "failed", "failed", "failed", "finished", "finished", "same as another",
    ]  # fmt: skip
    assert [job["error"] for job in jobs[1:4]] == [
        "seed=1 is refused; choose another", "ZeroDivisionError: a defect", "SystemExit: leaving",
    ]  # fmt: skip
    assert (jobs[5]["result"], jobs[6]["same_as"]) == (0.8, 5)
    assert errors == "error: 3 of 7 jobs failed\n"
    assert "7 jobs in 0:00:" in output
    assert ": 3 finished, 1 same as another, 3 failed\n" in output
    # A defect, and no user error, has its traceback in the log of the run.
    logs = {job["number"]: (app.parent / job["folder"] / "app.log").read_text() for job in jobs}
    assert [number for number, log in logs.items() if "Traceback" in log] == [2, 3]
    assert logs[2].endswith("ZeroDivisionError: a defect\n")
    assert logs[5].count("\n") == 1
    assert [seen(app.parent / job["folder"])["num"] for job in jobs] == [0, 1, 2, 3, 4, 5, 5]
    shown = re.sub(r"\b0:00:0\d\b", "0:00:00", output)  # a busy machine takes seconds
    assert [line.split() for line in shown.splitlines() if line.startswith(("2 ", "6 "))] == [
        ["2", "seed=2", "failed:", "ZeroDivisionError:", "a", "defect", "0:00:00", "runs/seed2"],
        ["6", "seed=8", "same", "as", "#5"],
    ]
    assert "\x1b" not in output


@pytest.mark.slow
def test_a_failed_killed_or_stopped_process_does_not_stop_the_other_jobs(app: Path) -> None:
    # Seed 6 starts processes, as a loader with workers does; seed 9 receives a SIGTERM.
    arguments = ["launcher=parallel", "launcher.jobs=4", "seed=9,1,2,3,4,6,8,8"]
    output, errors = call(app, "-m", *arguments, cwd=app.parent, rc=1)
    jobs = results(app.parent / "runs")
    assert [job["state"] for job in jobs] == [
        "interrupted", "failed", "failed", "failed", "failed", "finished", "finished", "same as another",
    ]  # fmt: skip
    assert [job["error"] for job in jobs[1:5]] == [
        "seed=1 is refused; choose another",
        "ZeroDivisionError: a defect",
        "its process was killed, or ran out of memory",
        "its result can't be sent to the launcher: cannot pickle '_thread.lock' object",
    ]
    assert (jobs[5]["result"], jobs[7]["same_as"]) == (6.0, 6)
    assert errors == "error: 5 of 8 jobs failed\n"
    assert "#2 seed=2: started\n" in output
    assert "#2 seed=2: failed: ZeroDivisionError: a defect  0:00:" in output
    # One log per job, printed if the job failed. A traceback is in the log of the run too.
    (folder,) = (app.parent / "runs").glob("multirun-*")
    assert {path.name for path in folder.iterdir()} == {"results.json", *(f"job-{n}.log" for n in range(7))}
    assert f"log of #3: {folder.relative_to(app.parent)}/job-3.log" in output
    assert "error: seed=1 is refused; choose another" in (folder / "job-1.log").read_text()
    for log in (folder / "job-2.log", app.parent / "runs" / "seed2" / "app.log"):
        assert "ZeroDivisionError: a defect\n" in log.read_text()
    assert (app.parent / "runs" / "seed8" / "app.log").read_text().count("\n") == 1
    # Each job had a process of its own, with its share of the cores.
    found = [seen(app.parent / job["folder"]) for job in jobs[:7]]
    assert len({job["pid"] for job in found}) == 7
    assert [job["num"] for job in found] == list(range(7))
    share = max(1, len(os.sched_getaffinity(0)) // 4)
    assert {job["OMP_NUM_THREADS"] for job in found} == {str(share)}
    assert {job["CUDA_VISIBLE_DEVICES"] for job in found} == {None}


def test_processes_use_the_modules_callbacks_and_threads_of_the_launcher(app: Path, tmp_path: Path) -> None:
    (tmp_path / "noting.py").write_text(
        "from pathlib import Path\n"
        "from hydra.experimental.callback import Callback\n"
        "class Note(Callback):\n"
        "    def on_job_end(self, config, job_return, **kwargs):\n"
        "        Path(config.hydra.runtime.output_dir, 'note').write_text(str(job_return.return_value))\n"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with (app.parent / "conf" / "app.yaml").open("a") as config:
        config.write("  callbacks: {note: {_target_: noting.Note}}\n")
    arguments = ["launcher=parallel", "seed=0,8"]
    call(app, "-m", *arguments, cwd=elsewhere, OMP_NUM_THREADS="3")
    assert [job["state"] for job in results(elsewhere / "runs")] == ["finished", "finished"]
    assert (elsewhere / "runs" / "seed8" / "note").read_text() == "0.8"
    assert seen(elsewhere / "runs" / "seed8")["OMP_NUM_THREADS"] == "3"


@pytest.mark.slow
def test_jobs_of_two_multiruns_never_share_a_gpu(app: Path, tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nprintf 'GPU-aaa\\nGPU-bbb\\n'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    locks = tmp_path / "locks"
    locks.mkdir()
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(locks)}
    parallel = ["-m", "launcher=parallel", "launcher.jobs=3"]
    # The first sees both GPUs; the second sees one of them, by its index.
    first = start(app, *parallel, "seed=101,103,104", cwd=tmp_path, **environment)
    second = start(app, *parallel, "seed=105", cwd=tmp_path, CUDA_VISIBLE_DEVICES="1", **environment)
    outputs = [process.communicate(timeout=60) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert "3 jobs, 2 at a time on 2 GPUs\n" in outputs[0][0]
    assert "1 job, 1 at a time on 1 GPU\n" in outputs[1][0]
    found = [seen(tmp_path / "runs" / f"seed{seed}") for seed in (101, 103, 104, 105)]
    names = {"1": "GPU-bbb"}
    for gpu in ("GPU-aaa", "GPU-bbb"):
        mine = [
            job for job in found if names.get(job["CUDA_VISIBLE_DEVICES"], job["CUDA_VISIBLE_DEVICES"]) == gpu
        ]
        times = sorted(job["slept"] for job in mine)
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(times))


@pytest.mark.alone
def test_a_repeated_multirun_runs_only_the_missing_jobs(tmp_path: Path) -> None:
    # 144 digits, for two steps.
    tiny = ["experiment=quickstart", "dataset.fraction=0.1", "backbone.width=4", "trainer.max_steps=2"]

    def train(*words: str) -> list[dict[str, Any]]:
        arguments = ["-m", "launcher=parallel", *tiny, *words]
        call(ROOT / "train.py", *arguments, cwd=tmp_path, OMP_NUM_THREADS="1")
        return results(tmp_path / "runs")

    jobs = train("tracking=wandb", "seed=0,0")
    assert [job["state"] for job in jobs] == ["finished", "same as another"]
    run = tmp_path / jobs[0]["folder"]
    assert json.loads((run / "summary.json").read_text())["test/error_pct"] == jobs[0]["result"]
    assert len(list(run.glob("wandb/offline-run-*/*.wandb"))) == 1
    # The jobs of a multirun share a group in W&B.
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["tracking"]["group"] == " ".join(["seed=0,0", *tiny, "tracking=wandb"])
    assert config["tracking"]["name"] == "seed=0"
    written = (run / "weights.safetensors").stat().st_mtime_ns
    jobs = train("tracking=none", "seed=0,1")
    assert [job["state"] for job in jobs] == ["finished before", "finished"]
    assert tmp_path / jobs[0]["folder"] == run
    assert (run / "weights.safetensors").stat().st_mtime_ns == written
    both = f"run={','.join(job['folder'] for job in jobs)}"
    call(ROOT / "evaluate.py", "-m", both, "corruptions.names=[]", cwd=tmp_path, OMP_NUM_THREADS="1")
    evaluated = results(tmp_path / "runs" / "evaluations")
    assert [job["result"] for job in evaluated] == [job["result"] for job in jobs]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["launcher.jobs=4", "seed=0,8"], 2, "the chosen launcher has no key launcher.jobs; choose another launcher=OPTION"),
        (["launcher=paralel", "seed=0,8"], 2, "launcher=paralel: no such option; did you mean parallel?"),
        (["launcher=parallel", "launcher.jobs=0", "seed=0,8"], 2, "launcher.jobs=0: must be an integer of at least 1"),
        (["hydra.sweeper.max_batch_size=1", "seed=0,8"], 1, "hydra.sweeper.max_batch_size: leave it out"),
    ],
)  # fmt: skip
def test_a_wrong_launcher_is_refused_in_one_line_before_any_job(
    app: Path, arguments: list[str], code: int, message: str
) -> None:
    output, errors = call(app, "-m", *arguments, cwd=app.parent, rc=code)
    assert errors.startswith(f"error: {message}")
    assert errors.count("\n") == 1
    assert output == ""
    assert list((app.parent / "runs").glob("[!m]*")) == []


def test_the_launchers_of_hydra_remain_available(app: Path) -> None:
    output, _ = call(app, "-m", "hydra/launcher=basic", "seed=0,8", cwd=app.parent)
    assert "Launching 2 jobs locally" in output
    assert seen(app.parent / "runs" / "seed8")["num"] == 1
