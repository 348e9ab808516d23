"""Executors run the jobs of a multirun; each option of the group `launcher` is one."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from tenet.launching.job import Job, JobWork, Outcome


class Executor(ABC):
    """Base class. A multirun calls `open`, then `submit` and `poll` for each job, and `stop` at the end.

    poll_s: seconds between two rounds of `poll`.
    processes: how many processes train each run.
    uses_terminal: the jobs print to the terminal, so the multirun shows no progress bar.
    is_remote: the jobs outlive this command and are announced by the executor, and a command without -m is submitted,
        too, as a multirun of one job.
    """

    poll_s: float
    processes: int = 1
    uses_terminal: ClassVar[bool] = False
    is_remote: ClassVar[bool] = False

    @abstractmethod
    def open(self, folder: Path, *, total: int, may_use_gpus: bool) -> int:
        """Prepare for `total` jobs and return how many may run at the same time. Logs belong in `folder`."""

    @abstractmethod
    def submit(self, job: Job, work: JobWork) -> None:
        """Start a job."""

    @abstractmethod
    def poll(self, job: Job) -> Outcome | None:
        """Return the outcome of a job, once; None while it runs."""

    @abstractmethod
    def stop(self) -> None:
        """Stop the running jobs and wait for them."""


class SerialExecutor(Executor):
    """Runs one job after another in this process, which keeps what a job leaves, such as loaded libraries."""

    poll_s = 0.0
    uses_terminal = True

    def open(self, folder: Path, *, total: int, may_use_gpus: bool) -> int:
        self._outcome: Outcome | None = None
        return 1

    def submit(self, job: Job, work: JobWork) -> None:
        self._outcome = work()

    def poll(self, job: Job) -> Outcome | None:
        outcome, self._outcome = self._outcome, None
        return outcome

    def stop(self) -> None:
        """Nothing to do: a signal interrupts the job itself."""
