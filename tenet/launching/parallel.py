"""The jobs of a multirun side by side, each in a process of its own, started by submitit."""

import fcntl
import os
import shutil
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import IO, Any

from tenet.errors import ConfigError
from tenet.launching.gpu_pool import GpuPool, find_gpus
from tenet.launching.job import Job, Outcome, State, counted, failure
from tenet.launching.multirun import Multirun
from tenet.launching.process import STOP_WITHIN_S, run_in_own_process
from tenet.run.progress import ProgressReport

POLL_S = 0.1
TEN_YEARS_MIN = 10 * 365 * 24 * 60
KILLED = Outcome(State.FAILED, error="its process was killed, or ran out of memory")


@dataclass(frozen=True)
class ParallelJobs:
    """At most `jobs` at a time, and at most `jobs_per_gpu` on one GPU: a job waits until one is free."""

    jobs: int = 2
    jobs_per_gpu: int = 1

    def run(self, multirun: Multirun) -> None:
        """Run all jobs. What breaks this off, such as KeyboardInterrupt, stops those that run first."""
        pool = GpuPool(find_gpus() if multirun.may_use_gpus else {}, jobs_per_gpu=self.jobs_per_gpu)
        total = len(multirun.jobs)
        at_once = min(self.jobs, total, pool.capacity or total)
        processes = _Processes(multirun, pool=pool)
        on_gpus = f" on {counted(len(pool.gpus), 'GPU')}" if pool.gpus else ""
        print(f"{counted(total, 'job')}, {at_once} at a time{on_gpus}", flush=True)
        _prepare_environment(at_once)
        waiting = deque(multirun.jobs)
        with ProgressReport("multirun", total=total, unit="job") as progress, processes:
            while waiting or processes.running:
                ended = processes.collect()
                while waiting and len(processes.running) < at_once:
                    processes.start(waiting.popleft())
                if ended:
                    failed = multirun.counts[State.FAILED]
                    status = f"{len(processes.running)} running" + (f"  {failed} failed" if failed else "")
                    progress.update(total - len(waiting) - len(processes.running), status)
                time.sleep(POLL_S if processes.running else 0)


def _prepare_environment(at_once: int) -> None:
    """Set what the processes of jobs inherit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Left to itself, each job would take a thread for every core.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // at_once)))
    # The modules that this process runs, from wherever it was started.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [sys.path[0], os.environ.get("PYTHONPATH")]))


class _Processes:
    """The processes of jobs; a context manager that leaves none of them behind.

    They wait for a lock, the leash, that this process holds: when it is let go, here or by this process's
    death, they stop. Raises ConfigError where submitit is missing.
    """

    def __init__(self, multirun: Multirun, *, pool: GpuPool) -> None:
        try:
            import submitit
        except ImportError as error:
            raise ConfigError(
                f"launcher=parallel needs submitit ({error}): pip install 'tenet-training[search]', or choose "
                "launcher=serial"
            ) from error
        self.multirun, self.pool = multirun, pool
        self.running: dict[Job, Any] = {}
        self._folder = (multirun.folder / "submitit").absolute()
        self._executor = submitit.LocalExecutor(self._folder)
        # Without a limit of time, submitit ends a job after two minutes.
        self._executor.update_parameters(timeout_min=TEN_YEARS_MIN, stderr_to_stdout=True)
        self._leash: IO[str] | None = None

    def __enter__(self) -> "_Processes":
        self._leash = (self._folder / "leash").open("w")
        fcntl.flock(self._leash, fcntl.LOCK_EX)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._leash is not None
        self._leash.close()
        if self.running:
            print(f"stopping {counted(len(self.running), 'job')}", flush=True)
        deadline = time.monotonic() + STOP_WITHIN_S + 1
        while self.running and time.monotonic() < deadline:
            self.collect(without_result=Outcome(State.INTERRUPTED))
            time.sleep(POLL_S)
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, job: Job) -> None:
        """Start the process of a job, if there is anything to do for it."""
        work = self.multirun.start(job)
        if work is None:
            return
        visible_gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
        run = partial(
            run_in_own_process, leash=self._folder / "leash", pool=self.pool, visible_gpus=visible_gpus
        )
        # Ctrl-C in a terminal reaches all its processes: jobs inherit that they don't hear it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.running[job] = self._executor.submit(run, work)
        except Exception as error:
            self.multirun.end(job, failure(error))
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def collect(self, *, without_result: Outcome = KILLED) -> int:
        """Keep how the jobs ended whose processes have, and their logs; the number of them."""
        ended = {job: handle for job, handle in self.running.items() if handle.done()}
        for job, handle in ended.items():
            del self.running[job]
            if handle.paths.stdout.exists():
                job.log = handle.paths.stdout.replace(self.multirun.folder / f"job-{job.number}.log")
            has_result = handle.paths.result_pickle.exists()
            self.multirun.end(job, _outcome(handle) if has_result else without_result)
        return len(ended)


def _outcome(handle: Any) -> Outcome:
    try:
        return handle.result()
    except Exception as error:
        # submitit's text is a traceback between lines of dashes: of a result that can't be pickled, say.
        traceback = str(error).partition("\n---")[2].partition("\n---")[0]
        return Outcome(State.FAILED, error=(traceback.strip() or str(error)).splitlines()[-1])
