"""Run the jobs of a multirun by an executor, record each outcome in a file, and print a table at the end."""

import logging
import math
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from textwrap import shorten
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from tenet.errors import counted
from tenet.files.atomic import hold
from tenet.files.json import write_json
from tenet.files.names import LOCK_FILE, RESULTS_FILE
from tenet.launching.executor import Executor
from tenet.launching.job import INTERRUPTED, Job, JobWork, Outcome, State, failure
from tenet.printing import console
from tenet.run.progress import ProgressReport, format_duration

COLORS = {State.FAILED: "red", State.INTERRUPTED: "yellow", State.NOT_STARTED: "dim"}
# States with a time in the table.
RAN = (State.FINISHED, State.FAILED, State.INTERRUPTED)
# States whose log is named below the table.
WITH_LOG = (State.FAILED, State.QUEUED)
MAX_ERROR_CHARACTERS = 70
MAX_LOGS = 10


class Multirun:
    """folder: for logs and `results.json`, which is rewritten whenever a job ends.

    prepare: composes a job and returns its work; None if there is nothing to run, after it set the outcome.
    may_use_gpus: False if the configuration selects the CPU.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        folder: Path,
        prepare: Callable[[Job], JobWork | None],
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

    def run(self, executor: Executor) -> None:
        """Run all jobs. An exception, such as KeyboardInterrupt, first stops those that are running."""
        remove_killed(self.folder.parent)
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = hold(self.folder / LOCK_FILE)
        try:
            self._run(executor)
        finally:
            (self.folder / LOCK_FILE).unlink(missing_ok=True)
            if lock is not None:
                lock.close()

    def _run(self, executor: Executor) -> None:
        total = len(self.jobs)
        at_once = executor.open(self.folder, total=total, may_use_gpus=self.may_use_gpus)
        waiting, running = deque(self.jobs), list[Job]()
        bar = None if executor.uses_terminal else ProgressReport("multirun", total=total, unit="job")
        try:
            with bar or nullcontext():
                while waiting or running:
                    outcomes = [(job, outcome) for job in running if (outcome := executor.poll(job))]
                    for job, outcome in outcomes:
                        running.remove(job)
                        self.end(job, outcome)
                    while waiting and len(running) < at_once:
                        job = waiting.popleft()
                        if self._start(job, executor):
                            running.append(job)
                    if bar and outcomes:
                        failed = self.counts[State.FAILED]
                        status = f"{len(running)} running" + (f"  {failed} failed" if failed else "")
                        bar.update(total - len(waiting) - len(running), status)
                    time.sleep(executor.poll_s if running else 0)
        finally:
            try:
                executor.stop()
            finally:
                for job in self.jobs:
                    if job.outcome.state == State.RUNNING:
                        self.end(job, executor.poll(job) or INTERRUPTED)

    def _start(self, job: Job, executor: Executor) -> bool:
        """Compose and submit a job. Return False if there is nothing to run, or it can't be started."""
        # The previous job, if it ran in this process, directed the log to its own file.
        logging.basicConfig(format="%(message)s", stream=sys.stdout, level=logging.INFO, force=True)
        self._started[job] = time.monotonic()
        try:
            work = self._prepare(job)
            if work is None:
                self.end(job, job.outcome)
                return False
            job.outcome = Outcome(State.RUNNING)
            if not executor.is_remote:
                print(f"#{job.number} {job.label}: started", flush=True)
            executor.submit(job, work)
        except Exception as error:
            self.end(job, failure(error))
            return False
        return True

    def end(self, job: Job, outcome: Outcome) -> None:
        """Record the outcome of a job and print it in a line."""
        job.outcome = outcome
        job.seconds = time.monotonic() - self._started[job]
        if outcome.state == State.FAILED and job.log is None and job.folder is not None:
            job.log = next(iter(sorted(job.folder.glob("*.log"))), None)
        self.folder.mkdir(parents=True, exist_ok=True)
        counts = {state.value: count for state, count in self.counts.items()}
        results = {"counts": counts, "jobs": [_as_json(job) for job in self.jobs]}
        write_json(self.folder / RESULTS_FILE, results)
        if outcome.state != State.FINISHED_BEFORE:  # RunFolder has printed that
            print(f"#{job.number} {job.label}: {job.describe()}  {format_duration(job.seconds)}", flush=True)

    def print_table(self) -> None:
        """Print a row for each job (outcome, time, folder), the counts, and the log files of failed jobs."""
        plain = console(highlight=False)
        if plain.is_terminal:
            plain.print(self._table(is_terminal=True))
        else:
            wide = console(width=10_000)  # in a file, lines may be long
            with wide.capture() as captured:
                wide.print(self._table(is_terminal=False))
            print("", *(line.rstrip() for line in captured.get().splitlines()), sep="\n")
        counts = ", ".join(f"{count} {state.value}" for state in State if (count := self.counts[state]))
        print(f"{counted(len(self.jobs), 'job')} in {format_duration(self.seconds)}: {counts}")
        told = [job for job in self.jobs if job.outcome.state in WITH_LOG and job.log is not None]
        for job in told[:MAX_LOGS]:
            print(f"log of #{job.number}: {job.log}")
        print(self.folder / RESULTS_FILE, flush=True)

    def _table(self, *, is_terminal: bool) -> Table:
        """The run folder has its own column; on a terminal, which is narrow, it is below the job."""
        folders = [self._run_folder(job) for job in self.jobs]
        table = Table(box=SIMPLE_HEAD if is_terminal else None, pad_edge=False)
        table.add_column("#", justify="right")
        table.add_column("job", overflow="fold")
        table.add_column("error", overflow="fold")
        table.add_column("time", justify="right", no_wrap=True, min_width=len("0:00:00"))
        on_cluster = any(job.cluster for job in self.jobs)
        if on_cluster:
            table.add_column("Slurm job")
        if any(folders) and not is_terminal:
            table.add_column("folder")
        for job, folder in zip(self.jobs, folders, strict=True):
            label = Text(job.label)
            if folder and is_terminal:
                label.append(f"\n{folder}", style="dim")
            ending = shorten(job.describe(), MAX_ERROR_CHARACTERS, placeholder=" …")
            time = format_duration(job.seconds) if job.outcome.state in RAN else ""
            # Text, because rich would parse the brackets of corruptions.names=[fog] as markup.
            cells = [Text(str(job.number)), label, Text(ending), Text(time)]
            cells += [Text(job.cluster)] * on_cluster + [Text(folder)] * (not is_terminal)
            table.add_row(*cells, style=COLORS.get(job.outcome.state))
        return table

    def _run_folder(self, job: Job) -> str:
        """Return the run folder of a job; empty if it has none of its own, as an evaluation."""
        if job.folder is None or job.same_as or job.folder == self.folder.parent or not job.folder.exists():
            return ""
        return str(job.folder)


def remove_killed(sweep_dir: Path) -> None:
    """Remove the folders of multiruns that were killed, which left their lock file. Their jobs' runs are kept."""
    for lock_file in sweep_dir.glob(f"multirun-*/{LOCK_FILE}"):
        lock = hold(lock_file)
        if lock is None:  # it is still running
            continue
        for path in (*lock_file.parent.glob("job-*.log"), lock_file.with_name(RESULTS_FILE), lock_file):
            path.unlink(missing_ok=True)
        lock.close()
        with suppress(OSError):  # a user has put files there
            lock_file.parent.rmdir()


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
        "cluster": job.cluster or None,
        "log": None if job.log is None else str(job.log),
        "seconds": round(job.seconds, 2),
    }
