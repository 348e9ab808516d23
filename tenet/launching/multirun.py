"""The jobs of one multirun: started in their turn, and how each ended kept in a file."""

import logging
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tenet.files.json import write_json
from tenet.files.names import RESULTS_FILE
from tenet.launching.job import Job, Outcome, State, Work, failure
from tenet.run.progress import format_duration


class Multirun:
    """folder: this multirun's own, for logs and for `results.json`, written anew whenever a job ends.

    prepare: composes a job and gives its work, or None where it has set the outcome itself.
    may_use_gpus: False where the configuration asks for the CPU.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        folder: Path,
        prepare: Callable[[Job], Work | None],
        may_use_gpus: bool = False,
    ) -> None:
        self.jobs, self.folder, self.may_use_gpus = jobs, folder, may_use_gpus
        self._prepare = prepare
        self._started: dict[Job, float] = {}
        self._first = time.monotonic()

    @property
    def counts(self) -> Counter[State]:
        return Counter(job.outcome.state for job in self.jobs)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._first

    def start(self, job: Job) -> Work | None:
        """The work of a job whose turn has come; None if there is none to do, or it can't be done."""
        # Plainly on the terminal again: the job before, in this process, logged to its own file.
        logging.basicConfig(format="%(message)s", stream=sys.stdout, level=logging.INFO, force=True)
        self._started[job] = time.monotonic()
        try:
            work = self._prepare(job)
        except Exception as error:
            self.end(job, failure(error))
            return None
        if work is None:
            self.end(job, job.outcome)
            return None
        job.outcome = Outcome(State.RUNNING)
        print(f"#{job.number} {job.label}: started", flush=True)
        return work

    def end(self, job: Job, outcome: Outcome) -> None:
        """Keep how a job ended, and tell it in a line."""
        job.outcome = outcome
        job.seconds = time.monotonic() - self._started[job]
        if outcome.state == State.FAILED and job.log is None and job.folder is not None:
            job.log = next(iter(sorted(job.folder.glob("*.log"))), None)
        self._write()
        if outcome.state != State.FINISHED_BEFORE:  # which the run folder has told
            print(f"#{job.number} {job.label}: {job.describe()}  {format_duration(job.seconds)}", flush=True)

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        counts = {state.value: count for state, count in self.counts.items()}
        write_json(
            self.folder / RESULTS_FILE, {"counts": counts, "jobs": [_as_json(job) for job in self.jobs]}
        )


def _as_json(job: Job) -> dict[str, Any]:
    state, result, error = job.outcome
    is_number = isinstance(result, int | float) and math.isfinite(result)
    return {
        "number": job.number,
        "overrides": list(job.overrides),
        "folder": None if job.folder is None else str(job.folder),
        "state": state.value,
        "same_as": None if job.same_as is None else job.same_as.number,
        "result": result if is_number or result is None else str(result),
        "error": error or None,
        "log": None if job.log is None else str(job.log),
        "seconds": round(job.seconds, 2),
    }
