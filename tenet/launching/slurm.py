"""The executor that submits each run to Slurm, by submitit, and waits for it."""

import getpass
import io
import logging
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, ClassVar

from omegaconf import OmegaConf

from tenet.config.overrides import as_override
from tenet.errors import ConfigError, UserError, counted
from tenet.files.json import read_json, write_json
from tenet.launching.executor import Executor
from tenet.launching.job import NOT_STARTED, Job, JobWork, Outcome, State
from tenet.launching.slurm_job import BatchJob
from tenet.rules import above, at_least

COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol")
REMEDIES = {"timeout": "; raise launcher.stop_seconds", "out_of_memory": "; raise launcher.memory_gb"}
# Of Hydra's own settings, those of a multirun, which a job is not.
OF_MULTIRUNS = ("hydra.sweep", "hydra.run.", "hydra.mode", "hydra/launcher", "hydra.launcher")

logger = logging.getLogger("tenet")


@dataclass
class _Submitted:
    """A job in Slurm. outcome: the file with its outcome. has_left: whether it was found to have left the queue."""

    id: str
    outcome: Path
    has_left: bool = False


class SlurmExecutor(Executor):
    """Submits the jobs as one job array. Each runs as its own command, and torchrun starts its processes if there are
    several.

    A repeated command waits for jobs that it finds in the queue instead of submitting them again. For the arguments
    see conf/launcher/slurm.yaml.
    """

    is_remote: ClassVar[bool] = True

    def __init__(
        self,
        partition: str | None = None,
        account: str | None = None,
        qos: str | None = None,
        constraint: str | None = None,
        nodes: Annotated[int, at_least(1)] = 1,
        gpus: Annotated[int, at_least(0)] = 1,
        cpus: Annotated[int, at_least(1)] | None = None,
        memory_gb: Annotated[int | float, above(0)] | None = None,
        minutes: Annotated[int, at_least(1)] = 240,
        stop_seconds: Annotated[int, at_least(1)] = 120,
        jobs: Annotated[int, at_least(1)] | None = None,
        setup: Sequence[str] = (),
        sbatch: Sequence[str] = (),
        poll_seconds: Annotated[int | float, above(0)] = 10,
    ) -> None:
        if stop_seconds >= minutes * 60:
            raise ValueError(
                f"stop_seconds={stop_seconds} leaves no time to train in minutes={minutes}; lower it"
            )
        self.partition, self.account, self.qos, self.constraint = partition, account, qos, constraint
        self.nodes, self.gpus, self.cpus, self.memory_gb = nodes, gpus, cpus, memory_gb
        self.minutes, self.stop_seconds, self.jobs = minutes, stop_seconds, jobs
        self.setup, self.sbatch, self.poll_seconds = list(setup), list(sbatch), poll_seconds
        self.poll_s, self.processes = poll_seconds, nodes * max(1, gpus)
        self._waiting: dict[Job, tuple[Path, BatchJob]] = {}
        self._submitted: dict[Job, _Submitted] = {}
        self._queue: dict[str, str] = {}
        self._asked = -float("inf")
        self._is_stopping = False

    def open(self, folder: Path, *, total: int, may_use_gpus: bool) -> int:
        missing = [command for command in COMMANDS if shutil.which(command) is None]
        if missing:
            raise ConfigError(
                f"launcher: there is no {missing[0]} on PATH; start this command on a machine of the cluster, or choose "
                "launcher=parallel"
            )
        try:
            import submitit
        except ImportError as error:
            raise ConfigError(
                "launcher: submitit is not installed; run pip install 'tenet-training[slurm]'"
            ) from error
        self._submitit: Any = submitit
        self._folder = folder.absolute().parent / "slurm"
        self._folder.mkdir(parents=True, exist_ok=True)
        return total

    def submit(self, job: Job, work: JobWork) -> None:
        """Collect a job for the job array, unless an earlier command has submitted it and it has not ended."""
        command = command_of(job, work.config)
        name = sha256(shlex.join(command).encode()).hexdigest()[:16]
        record, outcome = self._folder / f"{name}.json", self._folder / f"{name}-outcome.json"
        job_id = str(read_json(record).get("id"))
        if job_id in self._states():
            self._follow(job, job_id, outcome)
            return
        outcome.unlink(missing_ok=True)
        self._waiting[job] = (
            record,
            BatchJob(command, str(outcome), nodes=self.nodes, processes=max(1, self.gpus), cpus=self.cpus),
        )

    def poll(self, job: Job) -> Outcome | None:
        if self._is_stopping:
            return NOT_STARTED if job in self._waiting else Outcome(State.QUEUED)
        if self._waiting:
            self._submit_array()
        submitted = self._submitted[job]
        state = self._states().get(submitted.id)
        if state is not None:
            self._show(job, submitted.id, state)
            submitted.has_left = False
            return None
        outcome = read_json(submitted.outcome)
        if not outcome and not submitted.has_left:  # a file of another machine may appear late
            submitted.has_left = True
            return None
        if "result" in outcome:
            job.cluster = f"{submitted.id} completed"
            return Outcome(State.FINISHED, outcome["result"])
        if "error" in outcome:
            job.cluster = f"{submitted.id} failed"
            return Outcome(State.FAILED, error=str(outcome["error"]))
        # Nothing recorded: Slurm, which also remembers jobs that have left the queue, knows how it ended.
        state = self._submitit.SlurmJob(folder=self._folder, job_id=submitted.id).state.lower()
        job.cluster = f"{submitted.id} {state}"
        return Outcome(State.FAILED, error=f"Slurm ended it: {state}{REMEDIES.get(state, '')}")

    def stop(self) -> None:
        """Leave the jobs in Slurm: a closed terminal must not end what runs elsewhere."""
        self._is_stopping = True
        left = [submitted.id for submitted in self._submitted.values() if submitted.id in self._queue]
        if left:
            print(
                f"{counted(len(left), 'job')} left in the queue of Slurm; the same command waits for them again, and this "
                f"one cancels them: scancel {' '.join(left)}",
                flush=True,
            )

    def _submit_array(self) -> None:
        """Raises UserError with sbatch's own message if it refuses."""
        executor = self._submitit.SlurmExecutor(folder=self._folder)
        executor.update_parameters(**self._parameters())
        errors = io.StringIO()
        try:
            with redirect_stderr(errors), executor.batch():
                jobs = {job: executor.submit(work) for job, (_, work) in self._waiting.items()}
        except RuntimeError as error:  # of submitit
            raise UserError(f"sbatch: {reason(str(error))}") from error
        for job, (record, work) in self._waiting.items():
            write_json(record, {"id": jobs[job].job_id, "command": shlex.join(work.command)})
            self._follow(job, jobs[job].job_id, Path(work.outcome))
        self._waiting.clear()

    def _parameters(self) -> dict[str, Any]:
        """The options of sbatch, in the terms of submitit."""
        # submitit's own signal would reach its process alone, and it requeues a job only a few times.
        others = {"requeue": True, "signal": f"USR1@{self.stop_seconds}", **options(self.sbatch)}
        if self.memory_gb is not None:
            others["mem"] = f"{int(self.memory_gb * 1024)}M"
        root = shlex.quote(str(Path(__file__).resolve().parents[2]))
        given = {
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "nodes": self.nodes,
            "ntasks_per_node": 1,
            "gpus_per_node": self.gpus or None,
            "cpus_per_task": self.cpus,
            "time": self.minutes,
            "array_parallelism": self.jobs or len(self._waiting),
            "additional_parameters": others,
            "setup": [f"export PYTHONPATH={root}${{PYTHONPATH:+:$PYTHONPATH}}", *self.setup],
            "stderr_to_stdout": True,
            "use_srun": False,  # BatchJob calls srun
        }
        return {"job_name": "tenet", "wckey": None} | {
            name: value for name, value in given.items() if value is not None
        }

    def _follow(self, job: Job, job_id: str, outcome: Path) -> None:
        self._submitted[job] = _Submitted(job_id, outcome)
        self._queue.setdefault(job_id, "PENDING")
        job.log = self._submitit.SlurmJob(folder=self._folder, job_id=job_id).paths.stdout
        print(f"#{job.number} {job.label}: Slurm job {job_id}, log {job.log}", flush=True)

    def _show(self, job: Job, job_id: str, state: str) -> None:
        now = f"{job_id} {state.lower()}"
        if job.cluster != now:
            job.cluster = now
            print(f"#{job.number} {job.label}: {state.lower()}", flush=True)

    def _states(self) -> Mapping[str, str]:
        """Id -> state of all of the user's jobs in the queue. Raises UserError if Slurm can't say at the start."""
        if time.monotonic() - self._asked > self.poll_seconds / 2:
            command = ["squeue", "--noheader", "--array", "--user", getpass.getuser(), "--format=%i %T"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                self._queue = dict(line.split() for line in done.stdout.splitlines() if line.strip())
            elif self._asked > 0:
                logger.warning("squeue: %s; trying again", reason(done.stderr))
            else:  # without an answer, a job could be submitted twice
                raise UserError(f"squeue: {reason(done.stderr)}")
            self._asked = time.monotonic()
        return self._queue


def command_of(job: Job, config: Any) -> tuple[str, ...]:
    """The command of one job of a multirun by itself."""
    words = [word for word in job.overrides if not word.startswith(("launcher=", "launcher."))]
    words += [word for word in config.hydra.overrides.hydra if not word.lstrip("+~").startswith(OF_MULTIRUNS)]
    words += [
        as_override(key, value)
        for key in ("tracking.group", "tracking.name")
        if (value := OmegaConf.select(config, key)) is not None
    ]
    if config.get("resume") is None:
        words.append(as_override("hydra.run.dir", str(job.folder)))
    return (sys.executable, "-u", str(Path(sys.argv[0]).absolute()), *words)


def options(words: Sequence[str]) -> dict[str, str | bool]:
    """Name -> value of sbatch's options, as submitit takes them; True for an option without a value."""
    parts = [word.removeprefix("--").partition("=") for word in words]
    return {name: value if equals else True for name, equals, value in parts}


def reason(text: str) -> str:
    """The line of a message of Slurm's commands that tells why they refused."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line.partition("error: ")[2] for line in lines if "error: " in line]
    return next(iter(told or lines), "no message")
