"""Multiruns as a user types them: every job comes to its end, and none of them takes the others with it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tenet.config.build import build
from tenet.errors import ConfigError
from tenet.launching.job import Job, Outcome, State, failure
from tenet.launching.multirun import Multirun
from tenet.launching.plugin import labels
from tenet.launching.table import print_table
from tests.config.test_build import composed

ROOT = Path(__file__).resolve().parents[2]
# What a job does is chosen by its seed. It tells what it finds in a file of its folder.
APP = """
import gc, json, logging, multiprocessing, os, signal, sys, threading, time, weakref
from pathlib import Path
from hydra.core.hydra_config import HydraConfig
from tenet.entry import run_main
from tenet.errors import UserError

class Tensor: pass
tensors = weakref.WeakSet()

def see(folder, **more):
    names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "SUBMITIT_LOCAL_TIMEOUT_S")
    seen = {name: os.environ.get(name) for name in names}
    job = HydraConfig.get().job
    seen |= {"pid": os.getpid(), "num": job.num, "at": time.time(), **more}
    (folder / "seen.json.tmp").write_text(json.dumps(seen))
    (folder / "seen.json.tmp").rename(folder / "seen.json")

def main(config):
    folder, seed = Path(HydraConfig.get().runtime.output_dir), config.seed
    see(folder)
    logging.getLogger("tenet").info("seed %d", seed)
    if seed == 1:
        raise UserError("seed=1 is refused; choose another")
    if seed == 2:
        gc.disable()
        tensor = Tensor()
        tensors.add(tensor)
        raise ZeroDivisionError("a defect")
    if seed == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == 4:
        return threading.Lock()
    if seed == 5:
        sys.exit("leaving")
    if seed == 6:
        with multiprocessing.get_context("fork").Pool(1) as workers:
            return sum(workers.map(float, range(4)))
    if seed == 7:
        assert not tensors, "what a failed job held is still there"
    if seed >= 100:
        started = time.time()
        try:
            time.sleep((seed - 100) / 3)
        except BaseException as error:
            time.sleep(0.3)
            see(folder, stopped_by=type(error).__name__)
            raise
        see(folder, slept=[started, time.time()])
    return seed / 10

if __name__ == "__main__":
    sys.exit(run_main(main, config_dir=Path(__file__).parent / "conf", config_name="app"))
"""
CONFIG = """
defaults:
  - launcher: serial
  - _self_
  - override hydra/job_logging: tenet
  - override hydra/launcher: tenet
seed: 0
hydra:
  sweep: {dir: runs, subdir: "seed${seed}"}
  output_subdir: null
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A Hydra program of a few lines, with the launchers of this project."""
    for group in ("launcher", "hydra/launcher", "hydra/job_logging"):
        shutil.copytree(ROOT / "conf" / group, tmp_path / "conf" / group)
    (tmp_path / "conf" / "app.yaml").write_text(CONFIG)
    (tmp_path / "app.py").write_text(APP)
    return tmp_path / "app.py"


def start(script: Path, *arguments: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    own = {
        name: value
        for name, value in os.environ.items()
        if name not in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    }
    return subprocess.Popen(
        [sys.executable, str(script), *arguments],
        cwd=cwd, env=own | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def call(script: Path, *arguments: str, cwd: Path, rc: int = 0, **environment: str) -> tuple[str, str]:
    """What the command printed, after it ended with `rc`."""
    process = start(script, *arguments, cwd=cwd, **environment)
    output, errors = process.communicate(timeout=200)
    assert process.returncode == rc, output + errors
    return output, errors


def results(folder: Path) -> list[dict[str, Any]]:
    """The jobs of the latest multirun in the sweep's folder."""
    *_, latest = sorted(folder.glob("multirun-*/results.json"))
    return json.loads(latest.read_text())["jobs"]


def seen(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "seen.json").read_text())


def states(folder: Path) -> list[str]:
    return [job["state"] for job in results(folder)]


def wait_for(happened: Any, *, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_one_after_another_no_failed_job_stops_the_rest(app: Path) -> None:
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
    assert "7 jobs in 0:00:0" in output
    assert ": 3 finished, 1 same as another, 3 failed\n" in output
    # The traceback of what nobody foresaw, and of nothing else, is in the log of the job.
    logs = {job["number"]: (app.parent / job["folder"] / "app.log").read_text() for job in jobs}
    assert [number for number, log in logs.items() if "Traceback" in log] == [2, 3]
    assert logs[2].endswith("ZeroDivisionError: a defect\n")
    assert logs[5].count("\n") == 1
    assert [seen(app.parent / job["folder"])["num"] for job in jobs] == [0, 1, 2, 3, 4, 5, 5]
    assert [line.split() for line in output.splitlines() if line.startswith(("2 ", "6 "))] == [
        ["2", "seed=2", "failed:", "ZeroDivisionError:", "a", "defect", "0:00:00", "runs/seed2"],
        ["6", "seed=8", "same", "as", "#5"],
    ]
    assert "\x1b" not in output


def test_side_by_side_no_failed_or_killed_job_stops_the_rest(app: Path) -> None:
    # Seed 6 has processes of its own, as a loader's workers are.
    arguments = ["launcher=parallel", "launcher.jobs=4", "seed=0,1,2,3,4,6,8,8"]
    output, errors = call(app, "-m", *arguments, cwd=app.parent, rc=1)
    jobs = results(app.parent / "runs")
    assert [job["state"] for job in jobs] == [
        "finished", "failed", "failed", "failed", "failed", "finished", "finished", "same as another",
    ]  # fmt: skip
    assert [job["error"] for job in jobs[1:5]] == [
        "seed=1 is refused; choose another",
        "ZeroDivisionError: a defect",
        "its process was killed, or ran out of memory",
        "its result can't be sent to the launcher: cannot pickle '_thread.lock' object",
    ]
    assert (jobs[5]["result"], jobs[7]["same_as"]) == (6.0, 6)
    assert errors == "error: 4 of 8 jobs failed\n"
    assert "#2 seed=2: started\n" in output
    assert "#2 seed=2: failed: ZeroDivisionError: a defect  0:00:" in output
    # One log a job, named where it failed; the traceback also in the run folder; nothing of submitit's stays.
    (folder,) = (app.parent / "runs").glob("multirun-*")
    assert {path.name for path in folder.iterdir()} == {"results.json", *(f"job-{n}.log" for n in range(7))}
    assert f"log of #3: {folder.relative_to(app.parent)}/job-3.log" in output
    assert "error: seed=1 is refused; choose another" in (folder / "job-1.log").read_text()
    for log in (folder / "job-2.log", app.parent / "runs" / "seed2" / "app.log"):
        assert "ZeroDivisionError: a defect\n" in log.read_text()
    assert (app.parent / "runs" / "seed8" / "app.log").read_text().count("\n") == 1
    # Each in a process of its own, with its share of the cores.
    found = [seen(app.parent / job["folder"]) for job in jobs[:7]]
    assert len({job["pid"] for job in found}) == 7
    assert [job["num"] for job in found] == list(range(7))
    share = max(1, len(os.sched_getaffinity(0)) // 4)
    assert {job["OMP_NUM_THREADS"] for job in found} == {str(share)}
    assert {job["CUDA_VISIBLE_DEVICES"] for job in found} == {None}
    assert min(int(job["SUBMITIT_LOCAL_TIMEOUT_S"]) for job in found) > 365 * 24 * 3600


def test_jobs_have_the_modules_callbacks_and_threads_of_the_launcher_wherever_it_was_started(
    app: Path, tmp_path: Path
) -> None:
    (tmp_path / "noting.py").write_text(
        "from pathlib import Path\n"
        "from hydra.experimental.callback import Callback\n"
        "class Note(Callback):\n"
        "    def on_job_end(self, config, job_return, **kwargs):\n"
        "        Path(config.hydra.runtime.output_dir, 'note').write_text(str(job_return.return_value))\n"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    arguments = ["launcher=parallel", "seed=0,8", "+hydra.callbacks.note._target_=noting.Note"]
    call(app, "-m", *arguments, cwd=elsewhere, OMP_NUM_THREADS="3")
    assert [job["state"] for job in results(elsewhere / "runs")] == ["finished", "finished"]
    assert (elsewhere / "runs" / "seed8" / "note").read_text() == "0.8"
    assert seen(elsewhere / "runs" / "seed8")["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize("launcher", ["serial", "parallel"])
def test_ctrl_c_stops_the_running_jobs_once_and_tells_what_is_done(app: Path, launcher: str) -> None:
    process = start(app, "-m", f"launcher={launcher}", "seed=0,150,160,170", cwd=app.parent)
    runs = app.parent / "runs"
    running = ["seed150"] if launcher == "serial" else ["seed150", "seed160"]
    wait_for(lambda: all((runs / name / "seen.json").exists() for name in running))
    pids = [seen(runs / name)["pid"] for name in running]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to the launcher and all below
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "interrupted\n"
    stopped = [seen(runs / name)["stopped_by"] for name in running]
    assert stopped == (["KeyboardInterrupt"] if launcher == "serial" else ["Preempted"] * 2)
    assert [pid for pid in pids if is_alive(pid)] == []
    assert states(runs) == [
        "finished",
        *["interrupted"] * len(running),
        *["not started"] * (3 - len(running)),
    ]
    assert f"1 finished, {len(running)} interrupted, {3 - len(running)} not started\n" in output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGKILL, -signal.SIGKILL)])
def test_no_job_outlives_the_launcher(app: Path, number: signal.Signals, code: int) -> None:
    process = start(app, "-m", "launcher=parallel", "seed=150,160", cwd=app.parent)
    runs = app.parent / "runs"
    wait_for(lambda: len(list(runs.glob("seed*/seen.json"))) == 2)
    pids = [seen(runs / name)["pid"] for name in ("seed150", "seed160")]
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    wait_for(lambda: not any(map(is_alive, pids)), within_s=10)
    assert {seen(runs / name)["stopped_by"] for name in ("seed150", "seed160")} == {"Preempted"}


def test_a_job_that_is_stopped_alone_leaves_the_others_and_the_exit_code_tells(app: Path) -> None:
    process = start(app, "-m", "launcher=parallel", "seed=150,0", cwd=app.parent)
    runs = app.parent / "runs"
    wait_for((runs / "seed150" / "seen.json").exists)
    os.kill(seen(runs / "seed150")["pid"], signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, "error: 1 of 2 jobs failed\n")
    assert states(runs) == ["interrupted", "finished"]


def test_jobs_of_two_multiruns_never_share_a_gpu(app: Path, tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nprintf 'GPU-aaa\\nGPU-bbb\\n'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    locks = tmp_path / "locks"
    locks.mkdir()
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(locks)}
    parallel = ["-m", "launcher=parallel", "launcher.jobs=3"]
    # The one sees both GPUs, and the other the second one, by its number.
    first = start(app, *parallel, "seed=101,103,104", cwd=tmp_path, **environment)
    second = start(app, *parallel, "seed=105,106", cwd=tmp_path, CUDA_VISIBLE_DEVICES="1", **environment)
    outputs = [process.communicate(timeout=60) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert "3 jobs, 2 at a time on 2 GPUs\n" in outputs[0][0]
    assert "2 jobs, 1 at a time on 1 GPU\n" in outputs[1][0]
    found = [seen(tmp_path / "runs" / f"seed{seed}") for seed in (101, 103, 104, 105, 106)]
    names = {"1": "GPU-bbb"}
    for gpu in ("GPU-aaa", "GPU-bbb"):
        mine = [
            job for job in found if names.get(job["CUDA_VISIBLE_DEVICES"], job["CUDA_VISIBLE_DEVICES"]) == gpu
        ]
        times = sorted(job["slept"] for job in mine)
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(times))


def test_a_multirun_repeated_does_only_what_is_missing_and_its_runs_are_evaluated(tmp_path: Path) -> None:
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
    assert "submitit" not in (run / "train.log").read_text()
    assert len(list(run.glob("wandb/offline-run-*/*.wandb"))) == 1
    # The jobs of one multirun stand together in W&B.
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["tracking"]["group"] == " ".join(["seed=0,0", *tiny, "tracking=wandb"])
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
        (["launcher=parallel", "seed=0,8"], 1, "launcher=parallel needs submitit (not today): pip install 'tenet-"),
        (["launcher.jobs=4", "seed=0,8"], 2, "the chosen launcher has no key launcher.jobs; choose another launcher=OPTION"),
        (["launcher=paralel", "seed=0,8"], 2, "launcher=paralel: no such option; did you mean parallel?"),
        (["launcher=parallel", "launcher.jobs=0", "seed=0,8"], 2, "launcher.jobs=0: must be an integer of at least 1"),
        (["hydra.sweeper.max_batch_size=1", "seed=0,8"], 1, "hydra.sweeper.max_batch_size: leave it out"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_launcher_is_told_in_one_line_before_any_job(
    app: Path, arguments: list[str], code: int, message: str
) -> None:
    (app.parent / "submitit.py").write_text("raise ImportError('not today')")
    output, errors = call(app, "-m", *arguments, cwd=app.parent, rc=code)
    assert errors.startswith(f"error: {message}")
    assert errors.count("\n") == 1
    assert output == ""
    assert list((app.parent / "runs").glob("[!m]*")) == []


def test_hydras_own_launchers_can_still_be_chosen(app: Path) -> None:
    output, _ = call(app, "-m", "hydra/launcher=basic", "seed=0,8", cwd=app.parent)
    assert "Launching 2 jobs locally" in output
    assert seen(app.parent / "runs" / "seed8")["num"] == 1


def test_how_jobs_are_launched_is_no_part_of_what_they_are() -> None:
    configs = [
        composed(*words) for words in ([], ["launcher=serial"], ["launcher=parallel", "launcher.jobs=9"])
    ]
    assert configs[0] == configs[1] == configs[2]
    assert "launcher" not in configs[0]


@pytest.mark.parametrize("option", ["serial", "parallel"])
def test_every_launcher_is_built_with_all_its_values(option: str) -> None:
    config = yaml.safe_load((ROOT / "conf" / "launcher" / f"{option}.yaml").read_text())
    built = build(config, key="launcher")
    assert {"_target_": f"tenet.launching.{type(built).__name__}", **vars(built)} == config


def test_jobs_are_told_apart_by_what_differs() -> None:
    assert labels([["a=1", "b=[x,y]"], ["a=1", "b=[z]"]]) == ["b=[x,y]", "b=[z]"]
    assert labels([["a=1", "launcher=parallel", "launcher.jobs=2"]]) == ["a=1"]
    assert labels([["a=1", "launcher=parallel"]] * 2) == ["a=1", "a=1"]
    assert labels([["launcher=parallel"]]) == ["defaults"]


def test_the_table_shows_brackets_and_cuts_long_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one").mkdir()
    done = Job(
        number=0, overrides=(), label="corruptions.names=[fog]", folder=tmp_path / "one", seconds=3725.4
    )
    done.outcome = Outcome(State.FINISHED, 12.345)
    failed = Job(
        number=1, overrides=(), label="seed=1", outcome=failure(ConfigError("far too " + 20 * "long "))
    )
    failed.log = tmp_path / "job-1.log"
    waiting = Job(number=2, overrides=(), label="seed=2")
    again = Job(number=3, overrides=(), label="seed=1", outcome=Outcome(State.SAME), same_as=failed)
    multirun = Multirun([done, failed, waiting, again], folder=tmp_path / "m", prepare=lambda job: None)
    print_table(multirun)
    assert capsys.readouterr().out.splitlines() == [
        "",
        "#  job                      error" + 67 * " " + "time  folder",
        f"0  corruptions.names=[fog]  12.35 %{62 * ' '}1:02:05  {tmp_path}/one",
        "1  seed=1                   failed: far too " + 10 * "long " + "…  0:00:00",
        "2  seed=2                   not started",
        "3  seed=1                   same as #1",
        "4 jobs in 0:00:00: 1 finished, 1 same as another, 1 failed, 1 not started",
        f"log of #1: {tmp_path}/job-1.log",
        f"{tmp_path}/m/results.json",
    ]
