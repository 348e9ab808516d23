"""One job of a multirun: what it is, the work it does, and how it ended."""

import gc
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from hydra.core.utils import JobReturn, JobStatus, run_job
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
    NOT_STARTED = "not started"


class Outcome(NamedTuple):
    """How a job ended. result: what its task returned, an error in percent. error: why it failed, in one line."""

    state: State
    result: Any = None
    error: str = ""


NOT_STARTED = Outcome(State.NOT_STARTED)


@dataclass(eq=False)
class Job:
    """number: hydra.job.num. label: the overrides that tell it from the other jobs. folder: its run folder,
    once that is known. same_as: an earlier job of the same configuration. seconds: on the wall clock.
    log: the file that tells more of a failure."""

    number: int
    overrides: Sequence[str]
    label: str
    folder: Path | None = None
    outcome: Outcome = NOT_STARTED
    same_as: "Job | None" = None
    seconds: float = 0.0
    log: Path | None = None

    @property
    def result(self) -> Any:
        return (self.same_as or self).outcome.result

    def describe(self) -> str:
        """How it ended, such as `3.50 %`, `3.50 %, finished before` or `failed: no CUDA device`."""
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
class Work:
    """A composed job, to be run in this process or, pickled, in another."""

    hydra_context: HydraContext
    task: Task
    config: Any

    def __call__(self) -> Outcome:
        """Run the job as Hydra does, in its own folder. No error of the job's leaves this call."""
        try:
            outcome = _outcome(
                run_job(
                    hydra_context=self.hydra_context,
                    task_function=self.task,
                    config=self.config,
                    job_dir_key="hydra.sweep.dir",
                    job_subdir_key="hydra.sweep.subdir",
                )
            )
        except (Exception, SystemExit) as error:
            outcome = failure(error)
        if outcome.state == State.FAILED:
            gc.collect()  # a traceback and its error hold each other, and the job's tensors
        return outcome


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def is_for_cpu(config: Any) -> bool:
    """Whether a composed configuration, of a training or an evaluation, asks for the CPU."""
    return "cpu" in (OmegaConf.select(config, "trainer.device"), OmegaConf.select(config, "device"))


def _outcome(returned: JobReturn) -> Outcome:
    # Not its return_value: of a failed job that writes to the terminal and raises.
    value = returned._return_value
    return Outcome(State.FINISHED, value) if returned.status == JobStatus.COMPLETED else failure(value)


def failure(error: BaseException) -> Outcome:
    """What the user can mend is told in its own words. Anything else is a defect: it is told with its kind,
    and its traceback goes where the job logs, which is its run folder."""
    text = explain_to_user(error)
    if text is None:
        text = f"{type(error).__name__}: {error}"
        with suppress(OSError):  # a folder that is gone is no reason to stop the other jobs
            logger.error("the job failed", exc_info=error)
    return Outcome(State.FAILED, error=printable(text.strip().splitlines()[0].removesuffix(": ")))
