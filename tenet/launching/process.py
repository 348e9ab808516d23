"""What the process of a job does: it runs the job, on a GPU of its own, until it is told to stop."""

import fcntl
import logging
import os
import pickle
import signal
import sys
import time
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from pathlib import Path
from threading import Thread
from typing import Any

from hydra import version
from hydra.core.utils import setup_globals

from tenet.device import keep_freed_memory
from tenet.launching.gpu_pool import GpuPool
from tenet.launching.job import Outcome, State, Task, Work, is_for_cpu
from tenet.run.signals import Preempted, StopSignals

# What a job that is told to stop may take for its step and its checkpoint, before it is ended.
STOP_WITHIN_S = 30.0


def run_in_own_process(work: Work, *, leash: Path, pool: GpuPool, visible_gpus: str | None) -> Outcome:
    """Run a job to its end, or until the lock `leash` is let go.

    visible_gpus: the launcher's CUDA_VISIBLE_DEVICES; submitit has hidden all GPUs.
    """
    keep_freed_memory()
    logging.getLogger("submitit").propagate = False  # into the log of the run, where it has no part
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    if visible_gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible_gpus
    version.setbase("1.3")
    setup_globals()
    if pool.gpus and not is_for_cpu(work.config):
        work = replace(work, task=_on_a_gpu(work.task, pool))
    try:
        with StopSignals():
            Thread(target=_stop_without, args=(leash,), daemon=True).start()
            outcome = work()
    except (KeyboardInterrupt, Preempted):
        return Outcome(State.INTERRUPTED)
    try:
        pickle.dumps(outcome.result)
    except Exception as error:
        outcome = Outcome(State.FAILED, error=f"its result can't be sent to the launcher: {error}")
    if outcome.state == State.FAILED:
        print(f"error: {outcome.error}", file=sys.stderr)
    return outcome


def _stop_without(leash: Path) -> None:
    """Wait for the lock, then ask this process to stop, and soon end it."""
    with suppress(OSError), leash.open() as file:  # a lock that is gone is held by nobody
        fcntl.flock(file, fcntl.LOCK_SH)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_WITHIN_S)
    os._exit(1)


def _on_a_gpu(task: Task, pool: GpuPool) -> Task:
    # Around the task: the job's log is there by then, and torch has not looked for GPUs yet.
    @wraps(task)
    def task_on_a_gpu(config: Any) -> Any:
        with pool.take() as gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            return task(config)

    return task_on_a_gpu
