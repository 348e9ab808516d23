"""A Slurm of one machine: `sbatch`, `srun`, `squeue`, `sacct`, `scancel` and `scontrol`, by the name it is called by.

`sbatch` starts a controller in the background, which really runs the jobs of an array, `%N` at a time. $FAKE_SLURM is the
folder of its records: `ID.state` has the state of a job, and it sends the signal of --signal once there is a file
`ID.limit`, and ends the job 20 seconds later.
"""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

HOME = Path(os.environ["FAKE_SLURM"])
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")
KILL_WAIT_S, LIMIT_S = 5.0, 20.0


def write(name: str, text: object) -> None:
    (HOME / f"{name}.tmp").write_text(str(text))
    (HOME / f"{name}.tmp").rename(HOME / name)


def read(name: str) -> str:
    return (HOME / name).read_text() if (HOME / name).exists() else ""


def log(line: str) -> None:
    with (HOME / "log").open("a") as file:
        file.write(f"{line}\n")


def states() -> dict[str, str]:
    return {path.stem: path.read_text() for path in sorted(HOME.glob("*.state"))}


def sbatch(script: str) -> int:
    text = Path(script).read_text()
    if "--partition=closed" in text:
        print("sbatch: error: invalid partition specified: closed", file=sys.stderr)
        print("sbatch: error: Batch job submission failed: Invalid partition name specified", file=sys.stderr)
        return 1
    number = str(int(read("last") or 100) + 1)
    write("last", number)
    write(f"{number}.sh", text)
    for name in Array(number).names:
        write(f"{name}.state", "PENDING")
    with (HOME / "controller.log").open("a") as errors:
        subprocess.Popen(
            [sys.executable, __file__, "controller", number],
            stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True,
        )  # fmt: skip
    print(f"Submitted batch job {number}")
    return 0


def squeue(*words: str) -> int:
    for name, state in states().items():
        if state not in ENDED:
            print(name, state)
    return 0


def sacct(*words: str) -> int:
    print("JobID|State|NodeList")
    for name, state in states().items():
        print(f"{name}|{state}|here")
    return 0


def scancel(*names: str) -> int:
    for name in states():
        if name in names or name.partition("_")[0] in names:
            write(f"{name}.state", "CANCELLED")
    return 0


def scontrol(verb: str, *words: str) -> int:
    if (verb, *words) == ("show", "hostnames", os.environ.get("SLURM_JOB_NODELIST")):
        print(socket.gethostname(), "another", sep="\n")
        return 0
    (job_id,) = words
    assert verb == "requeue"
    write(f"{read(f'{job_id}.name') or job_id}.state", "REQUEUED")
    return 0


def srun(*words: str) -> int:
    given = [word.partition("=")[2] for word in words if word.startswith("--nodes=")]
    nodes = int(given[0] if given else os.environ["SLURM_NNODES"])
    first = next(index for index, word in enumerate(words) if not word.startswith("--"))
    step = {**os.environ, "FAKE_STEP": os.environ["FAKE_JOB"]}
    tasks = [
        subprocess.Popen(words[first:], env={**step, "SLURM_NODEID": str(node)}, start_new_session=True)
        for node in range(nodes)
    ]
    codes = [task.wait() for task in tasks]
    return max(code if code >= 0 else 128 - code for code in codes)


class Array:
    """The jobs of one script: a job array, or one job."""

    def __init__(self, number: str) -> None:
        lines = (HOME / f"{number}.sh").read_text().splitlines()
        words = [shlex.split(line)[1].removeprefix("--") for line in lines if line.startswith("#SBATCH")]
        self.given = {name: value for name, _, value in (word.partition("=") for word in words)}
        self.number, self.is_array = number, "array" in self.given
        last, _, at_once = self.given.get("array", "0-0%1").partition("-")[2].partition("%")
        self.at_once = int(at_once)
        self.names = [f"{number}_{index}" if self.is_array else number for index in range(int(last) + 1)]
        self.running: dict[str, Running] = {}

    def run(self) -> None:
        while self.running or "PENDING" in map(self.state, self.names):
            for name in self.names:
                if self.state(name) == "PENDING" and len(self.running) < self.at_once:
                    self.running[name] = Running(name, self)
                    log(f"start {name}, {len(self.running)} running")
            for name, job in list(self.running.items()):
                if job.has_ended():
                    del self.running[name]
            time.sleep(0.05)

    def state(self, name: str) -> str:
        return read(f"{name}.state")


class Running:
    def __init__(self, name: str, array: Array) -> None:
        self.name, self.limit, self.deadline = name, float("inf"), 0.0
        starts = int(read(f"{name}.starts") or 0)
        write(f"{name}.starts", starts + 1)
        write(f"{name}.state", "RUNNING")
        self.signal = getattr(signal, f"SIG{array.given['signal'].partition('@')[0]}")
        environment = {
            **os.environ,
            "FAKE_JOB": name,
            "SLURM_JOB_ID": name,
            "SLURM_RESTART_COUNT": str(starts),
            "SLURM_NNODES": array.given.get("nodes", "1"),
            "SLURM_CPUS_PER_TASK": array.given.get("cpus-per-task", "1"),
            "SLURM_JOB_NODELIST": "here[1-2]",
        }
        if array.is_array:
            index = name.partition("_")[2]
            job_id = str(int(array.number) * 1000 + int(index))
            write(f"{job_id}.name", name)
            environment |= {
                "SLURM_JOB_ID": job_id,
                "SLURM_ARRAY_JOB_ID": array.number,
                "SLURM_ARRAY_TASK_ID": index,
            }
        output = array.given.get("output", "slurm-%j.out").replace("%A_%a", name).replace("%j", name)
        with Path(output).open("a") as file:
            self.process = subprocess.Popen(
                ["bash", HOME / f"{array.number}.sh"],
                env=environment, stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip

    def has_ended(self) -> bool:
        state = read(f"{self.name}.state")
        if (HOME / f"{self.name}.limit").exists():
            (HOME / f"{self.name}.limit").unlink()
            self.limit = time.monotonic() + LIMIT_S
            self.signal_step(self.signal)
        if state == "RUNNING" and time.monotonic() > self.limit:
            write(f"{self.name}.state", "TIMEOUT")
        elif state != "RUNNING":
            self.terminate()
        if self.process.poll() is None or (self.deadline and self.step()):
            return False
        if state in ("REQUEUED", "PREEMPTED"):
            log(f"{state} {self.name}")
            write(f"{self.name}.state", "PENDING")
        elif state == "RUNNING":
            write(f"{self.name}.state", "COMPLETED" if self.process.returncode == 0 else "FAILED")
        return True

    def terminate(self) -> None:
        """As Slurm ends a job that is cancelled, preempted, requeued or past its limit."""
        if not self.deadline:
            self.deadline = time.monotonic() + KILL_WAIT_S
            number = signal.SIGTERM
        elif time.monotonic() > self.deadline:
            number = signal.SIGKILL
        else:
            return
        self.signal_step(number)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def signal_step(self, number: int) -> None:
        for pid in self.step():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def step(self) -> list[int]:
        """All processes of the job's step, whatever their session, as Slurm finds them by their control group."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"FAKE_STEP={self.name}\0".encode() in path.read_bytes():
                    found.append(int(path.parent.name))
        return found


def controller(number: str) -> int:
    Array(number).run()
    return 0


if __name__ == "__main__":
    command, words = Path(sys.argv[0]).name, sys.argv[1:]
    if command == "slurm.py":
        command, *words = words
    sys.exit(globals()[command](*words))
