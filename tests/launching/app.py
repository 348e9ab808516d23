"""A small Hydra program with the launchers of this project, and functions to run it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# The seed of a job selects what it does. The job writes what it sees into a file of its run folder.
APP = """
if __name__ == "__main__":
    from tenet.run.signals import StopSignals, exit_when_stopped
    exit_when_stopped()
import gc, json, logging, multiprocessing, os, signal, sys, threading, time, weakref
from pathlib import Path
from hydra.core.hydra_config import HydraConfig
from tenet.entry import run_main
from tenet.errors import UserError

class Tensor: pass
tensors = weakref.WeakSet()

def see(folder, **more):
    names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    seen = {name: os.environ.get(name) for name in names}
    job = HydraConfig.get().job
    seen |= {"pid": os.getpid(), "num": job.get("num"), "at": time.time(), **more}
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
        assert not tensors, "the tensors of a failed job are still alive"
    if seed == 9:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    if 20 <= seed < 40 and int(os.environ["SLURM_RESTART_COUNT"]) < seed % 10:
        with StopSignals():
            if seed < 30:  # the time limit is now
                Path(os.environ["FAKE_SLURM"], f"{os.environ['FAKE_JOB']}.limit").touch()
            time.sleep(60)
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
    """Run the command, which must exit with `rc`, and return its output and its errors."""
    process = start(script, *arguments, cwd=cwd, **environment)
    output, errors = process.communicate(timeout=200)
    assert process.returncode == rc, output + errors
    return output, errors


def results(folder: Path) -> list[dict[str, Any]]:
    """Return the jobs of the latest multirun in the folder of the sweep."""
    *_, latest = sorted(folder.glob("multirun-*/results.json"))
    return json.loads(latest.read_text())["jobs"]


def seen(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "seen.json").read_text())


def states(folder: Path) -> list[str]:
    return [job["state"] for job in results(folder)]


def wait_for(happened: Any, *, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
