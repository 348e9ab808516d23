"""A job of a multirun: its description, its work and its outcome."""

import gc
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from hydra.core.utils import JobStatus, run_job
from hydra.types import HydraContext
from omegaconf import OmegaConf

from tenet.errors import printable
from tenet.failures import explain_to_user

Task: TypeAlias = Callable[[Any], Any]

logger = logging.getLogger("tenet")


class State(Enum):
    RUNNING = "running"
    FINISHED = "finished"
    FINISHED_BEFORE = "finished before"
    SAME = "same as another"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    QUEUED = "left in the queue"
    NOT_STARTED = "not started"


class Outcome(NamedTuple):
    """How a job ended. result: the task's return value, an error in percent. error: one line, if it failed."""

    state: State
    result: Any = None
    error: str = ""


NOT_STARTED = Outcome(State.NOT_STARTED)
INTERRUPTED = Outcome(State.INTERRUPTED)


@dataclass(eq=False)
class Job:
    """number: hydra.job.num. label: the overrides that differ from the other jobs'. name: the same, shorter, for W&B.
    folder: the run folder, once the configuration is composed. same_as: an earlier job with the same configuration.
    seconds: wall-clock time. log: the file with the details of a failure. cluster: the id and the state of the job on a
    cluster."""

    number: int
    overrides: Sequence[str]
    label: str
    name: str = ""
    folder: Path | None = None
    outcome: Outcome = NOT_STARTED
    same_as: "Job | None" = None
    seconds: float = 0.0
    log: Path | None = None
    cluster: str = ""

    @property
    def result(self) -> Any:
        return (self.same_as or self).outcome.result

    def describe(self) -> str:
        """Return the outcome as text: `3.50 %`, `3.50 %, finished before` or `failed: no CUDA device`."""
        state, result, error = self.outcome
        figure = f"{result:.2f} %" if isinstance(result, int | float) else ""
        if state == State.FINISHED:
            return figure or state.value
        if state == State.FAILED:
            return f"failed: {error}"
        if self.same_as is not None:
            return f"same as #{self.same_as.number}"
        return f"{figure}, {state.value}" if figure else state.value


@dataclass(frozen=True)
class JobWork:
    """A composed job. Call it in this process, or pickle it for another."""

    hydra_context: HydraContext
    task: Task
    config: Any

    def __call__(self) -> Outcome:
        """Run the job as Hydra does, in its run folder. An error of the job becomes a FAILED outcome."""
        try:
            returned = run_job(
                hydra_context=self.hydra_context,
                task_function=self.task,
                config=self.config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
            value = returned._return_value  # return_value would print and raise the error of a failed job
            is_done = returned.status == JobStatus.COMPLETED
            outcome = Outcome(State.FINISHED, value) if is_done else failure(value)
        except (Exception, SystemExit) as error:
            outcome = failure(error)
        if outcome.state == State.FAILED:
            gc.collect()  # an error and its traceback form a cycle, which keeps the job's tensors
        return outcome


def is_for_cpu(config: Any) -> bool:
    """Return whether a composed configuration of train.py or evaluate.py selects the CPU."""
    return "cpu" in (OmegaConf.select(config, "trainer.device"), OmegaConf.select(config, "device"))


def failure(error: BaseException) -> Outcome:
    """Return the FAILED outcome for an error.

    A user error keeps its message. Any other error is a defect: its class precedes the message, and its
    traceback is logged, which puts it into the log of the run.
    """
    text = explain_to_user(error)
    if text is None:
        text = f"{type(error).__name__}: {error}"
        with suppress(OSError):  # a deleted run folder must not stop the other jobs
            logger.error("the job failed", exc_info=error)
    return Outcome(State.FAILED, error=printable(text.strip().splitlines()[0].removesuffix(": ")))
