"""The executor that runs each job in a process of its own, several at a time."""

import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import partial, wraps
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Annotated, Any, TypeAlias

from hydra import version
from hydra.core.utils import setup_globals

from tenet.device import keep_freed_memory
from tenet.errors import counted
from tenet.launching.executor import Executor
from tenet.launching.gpu_pool import find_gpus, hold_gpu
from tenet.launching.job import INTERRUPTED, Job, JobWork, Outcome, State, is_for_cpu
from tenet.printing import open_streams
from tenet.rules import at_least, at_most
from tenet.run.signals import PREEMPTIONS, Preempted, StopSignals

# Time for a job to finish its step and write a checkpoint, after which it is killed.
STOP_WITHIN_S = 30.0
KILLED = Outcome(State.FAILED, error="its process was killed, or ran out of memory")

HoldGpu: TypeAlias = Callable[[], AbstractContextManager[str]]


@dataclass
class _Running:
    """outcome: of the job, if its process ends without sending one."""

    process: BaseProcess
    results: Connection
    outcome: Outcome = KILLED

    def has_ended(self) -> bool:
        is_alive = self.process.is_alive()  # before the pipe is read: the process may send an outcome and end
        with suppress(EOFError):  # the process ended without an outcome
            if self.results.poll():
                self.outcome = self.results.recv()
        return not is_alive


class ProcessExecutor(Executor):
    """Runs at most `jobs` at a time, and at most `jobs_per_gpu` on one GPU; a job waits for a free GPU.

    A new process is started for each job, so that a job that crashes or is killed does not affect the others.
    """

    poll_s = 0.1

    def __init__(
        self,
        jobs: Annotated[int, at_least(1)] = 2,
        jobs_per_gpu: Annotated[int, at_least(1), at_most(1000)] = 1,
    ) -> None:
        self.jobs, self.jobs_per_gpu = jobs, jobs_per_gpu
        self._running: dict[Job, _Running] = {}

    def open(self, folder: Path, *, total: int, may_use_gpus: bool) -> int:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._gpus = find_gpus() if may_use_gpus else {}
        at_once = min(self.jobs, total, len(self._gpus) * self.jobs_per_gpu or total)
        on_gpus = f" on {counted(len(self._gpus), 'GPU')}" if self._gpus else ""
        print(f"{counted(total, 'job')}, {at_once} at a time{on_gpus}", flush=True)
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        # By default each process would start one thread per core.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // at_once)))
        return at_once

    def submit(self, job: Job, work: JobWork) -> None:
        context = multiprocessing.get_context("spawn")
        results, sender = context.Pipe(duplex=False)
        log = self._folder / f"job-{job.number}.log"
        hold = partial(hold_gpu, self._gpus, jobs_per_gpu=self.jobs_per_gpu) if self._gpus else None
        process = context.Process(target=_run_job, args=(work, hold, log, sender))
        # The process inherits the blocked signals. It unblocks all but SIGINT once it can handle them: Ctrl-C in a
        # terminal reaches every process, and only the launcher must act on it. The resource tracker, which
        # Python starts with the first process, would unblock them here.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *PREEMPTIONS})
        try:
            process.start()
            self._running[job], job.log = _Running(process, results), log
        finally:
            sender.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def poll(self, job: Job) -> Outcome | None:
        running = self._running.get(job)
        if running is None or not running.has_ended():
            return None
        return self._running.pop(job).outcome

    def stop(self) -> None:
        """Ask the jobs to stop; kill those that take too long, or all if a second Ctrl-C interrupts the wait."""
        if not self._running:
            return
        print(f"stopping {counted(len(self._running), 'job')}", flush=True)
        try:
            for running in self._running.values():
                running.outcome = INTERRUPTED
                running.process.terminate()
            deadline = time.monotonic() + STOP_WITHIN_S
            while time.monotonic() < deadline and not all(map(_Running.has_ended, self._running.values())):
                time.sleep(self.poll_s)
        finally:
            for running in self._running.values():
                running.process.kill()
                running.process.join()


def _run_job(work: JobWork, hold: HoldGpu | None, log: Path, results: Connection) -> None:
    """Run a job in this process, with its output in the file `log`, and send its outcome."""
    sys.stdout = sys.stderr = log.open("w", buffering=1, errors="backslashreplace")
    for descriptor in (1, 2):  # also used by libraries and by processes that the job starts
        os.dup2(sys.stdout.fileno(), descriptor)
    open_streams()
    keep_freed_memory()
    version.setbase("1.3")
    setup_globals()
    if hold is not None and not is_for_cpu(work.config):
        task = work.task

        @wraps(task)
        def task_on_a_gpu(config: Any) -> Any:
            # Here the log of the run is open, and torch has not looked for GPUs yet.
            with hold() as gpu:
                os.environ["CUDA_VISIBLE_DEVICES"] = gpu
                return task(config)

        work = replace(work, task=task_on_a_gpu)
    try:
        with StopSignals():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, PREEMPTIONS)
            Thread(target=_stop_with_launcher, daemon=True).start()
            outcome = work()
    except (KeyboardInterrupt, Preempted):
        outcome = INTERRUPTED
    try:
        pickle.dumps(outcome.result)
    except Exception as error:
        outcome = Outcome(State.FAILED, error=f"its result can't be sent to the launcher: {error}")
    if outcome.state == State.FAILED:
        print(f"error: {outcome.error}", file=sys.stderr)
    with suppress(BrokenPipeError):  # the launcher was killed
        results.send(outcome)


def _stop_with_launcher() -> None:
    """Wait for the launcher's death, then stop this process as the launcher would."""
    launcher = multiprocessing.parent_process()
    assert launcher is not None
    launcher.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_WITHIN_S)
    os._exit(1)
