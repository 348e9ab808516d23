"""What runs inside of a Slurm job, on the first of its nodes: it starts the command on all nodes."""

import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tenet.failures import OUTCOME_FILE, PREEMPTED

# Below the ports that systems hand out by themselves.
FIRST_PORT, PORTS = 20_000, 10_000


@dataclass(frozen=True)
class BatchJob:
    """Runs `command` in `processes` processes on each of `nodes` nodes, and puts the job back into Slurm's queue if the
    command stopped before the time limit.

    outcome: the file in which the command records its result or its error. cpus: for each node.
    """

    command: tuple[str, ...]
    outcome: str
    nodes: int = 1
    processes: int = 1
    cpus: int | None = None

    def __call__(self) -> None:
        """Run the command; exit with its code unless it is 0."""
        # submitit ignores SIGTERM. Slurm sends it to a job that is cancelled or preempted, and requeues the latter itself.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        Path(self.outcome).unlink(missing_ok=True)  # of an earlier start
        code = subprocess.call(self.step(), env=os.environ | {OUTCOME_FILE: self.outcome})
        if code == PREEMPTED:
            subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=True)
        if code:
            sys.exit(code)

    def step(self) -> list[str]:
        """The command of the job step, for this Slurm job."""
        # Not killed on a bad exit: the node that leaves last may be writing the checkpoint.
        srun = [
            "srun",
            f"--nodes={self.nodes}",
            f"--ntasks={self.nodes}",
            "--ntasks-per-node=1",
            "--kill-on-bad-exit=0",
        ]
        if self.cpus is not None:  # srun does not take it from sbatch
            srun.append(f"--cpus-per-task={self.cpus}")
        if self.nodes * self.processes == 1:
            return [*srun, *self.command]
        job_id = os.environ["SLURM_JOB_ID"]
        python, *arguments = self.command
        torchrun = [
            python, "-u", "-m", "tenet.launching.torchrun", f"--nnodes={self.nodes}", f"--nproc-per-node={self.processes}",
            "--rdzv-backend=c10d", f"--rdzv-endpoint={socket.gethostname()}:{FIRST_PORT + int(job_id) % PORTS}",
            f"--rdzv-id={job_id}",
        ]  # fmt: skip
        return [*srun, *torchrun, *(word for word in arguments if word != "-u")]
