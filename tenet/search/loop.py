"""The search: several trainings at a time, each in a process of its own, until the study has all its trials."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from optuna.trial import Trial

from tenet.config.command_line import plan
from tenet.failures import INTERRUPTED, PREEMPTED
from tenet.files.json import number, read_json
from tenet.files.names import METRICS_FILE, SUMMARY_FILE
from tenet.run.environment import SEARCH
from tenet.run.metrics_file import read_metrics
from tenet.run.origin import read_origin
from tenet.search.report import line, rounded
from tenet.search.space import word
from tenet.search.study import HeldTrial, Study
from tenet.tracking.names import cut, short_name

POLL_S = 0.2
GRACE_S = 30  # between an interrupt and a kill, for the step and a checkpoint
RETRY_S = 10  # while another process trains in the same run folder
FOLDER_IS_HELD = "another process is working in"  # the error of tenet.run.folder
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class TrainingProcess:
    """Starts `command`, which trains a trial of a search in `run_dir`, and appends its output to `log`.

    environment: variables of the process, unless this one has them with other values.
    """

    def __init__(
        self, command: Sequence[str], *, run_dir: Path, log: IO[bytes], environment: Mapping[str, str]
    ) -> None:
        self.command, self.run_dir, self.log, self.environment = command, run_dir, log, environment
        self.is_interrupted = False
        self._kill_at = math.inf
        self._start()

    def _start(self) -> None:
        self._output_starts = self.log.seek(0, os.SEEK_END)
        self._retry_at = math.inf
        # In a new session, so that Ctrl-C in the terminal reaches only the search. Unbuffered, so that the log
        # ends with the last output.
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**self.environment, **os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def poll(self) -> int | None:
        """Return the exit code; None while it trains, or waits until another process leaves its run folder."""
        now = time.monotonic()
        if self._retry_at < math.inf:
            if self.is_interrupted:
                return -signal.SIGINT
            if now >= self._retry_at:
                self._start()
            return None
        code = self._process.poll()
        if code is None and now >= self._kill_at:
            self.kill()
        if code and not self.is_interrupted and FOLDER_IS_HELD in self.reason():
            self._retry_at = now + RETRY_S
            return None
        return code

    def interrupt(self) -> None:
        """Stop it as Ctrl-C does. If it takes longer than GRACE_S, `poll` kills it."""
        if self._process.poll() is None and not self.is_interrupted:
            self._process.send_signal(signal.SIGINT)
            self._kill_at = time.monotonic() + GRACE_S
        self.is_interrupted = True

    def kill(self) -> None:
        """Kill it and the processes that it started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def evaluations(self, metric: str) -> list[float]:
        """Return the values of the metric so far, in order; NaN for those that are not finite."""
        try:
            rows = read_metrics(self.run_dir / METRICS_FILE)
        except FileNotFoundError:
            return []
        return [float(row[metric]) for row in rows if metric in row]

    def result(self, metric: str) -> float:
        """Return the metric of a finished run; NaN if there is none."""
        value = number(read_json(self.run_dir / SUMMARY_FILE).get(metric))
        return math.nan if value is None else value

    def reason(self) -> str:
        """Return the reason of its failure: its last error message, else its last line of output."""
        with Path(self.log.name).open("rb") as file:
            file.seek(self._output_starts)
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
        errors = [line for line in lines if line.startswith("error: ")]
        said = ([*filter(None, lines), *errors] or ["no output"])[-1]
        code = self._process.returncode
        return f"killed by {signal.Signals(-code).name}; {said}" if code and code < 0 else said


class Search:
    """Runs the trials of a study with the train.py in `root`."""

    def __init__(self, study: Study, *, root: Path, workers: int) -> None:
        self.study, self.root, self.workers = study, root, workers
        self.running: list[tuple[HeldTrial, TrainingProcess]] = []

    def run(self) -> None:
        """Run until all trials have ended, in this process or another.

        Raises KeyboardInterrupt on SIGINT, SIGTERM and SIGHUP, after the trainings have stopped. Their trials can be
        continued.
        """
        before = {number: signal.signal(number, _interrupt) for number in ENDING_SIGNALS}
        print(
            f"study {self.study.space.name}: {self.study.total} trials, {self.study.space.metric} to "
            f"{self.study.space.goal}, in {self.study.storage}"
        )
        if self.workers > 1:  # by default each training would start one thread per core
            os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self.workers)))
        is_waiting = False
        try:
            while self.running or not self.study.is_done:
                while len(self.running) < self.workers and (held := self.study.next_trial()):
                    self._start(held)
                if not self.running and not is_waiting:
                    print("waiting for the trials of other processes", flush=True)
                is_waiting = not self.running
                time.sleep(POLL_S)
                self.running = [running for running in self.running if not self._has_ended(*running)]
        finally:
            self._stop_all()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _start(self, held: HeldTrial) -> None:
        words = self.study.space.words(held.trial.params)
        run_dir, _ = plan(words, config_dir=self.root / "conf", config_name="train")
        command = [sys.executable, str(self.root / "train.py"), *words]
        chosen = [word(*parameter) for parameter in held.trial.params.items()]
        space = self.study.space
        environment = {"WANDB_RUN_GROUP": cut(space.name), "WANDB_NAME": short_name(chosen)}
        if space.method != "grid":  # nothing has chosen the runs of a grid
            environment[SEARCH] = space.name
        process = TrainingProcess(command, run_dir=run_dir, log=held.log, environment=environment)
        self.running.append((held, process))
        state = "resumed" if held.is_continued else "started"
        print(line(held.trial.number, state, str(run_dir)), flush=True)

    def _has_ended(self, held: HeldTrial, process: TrainingProcess) -> bool:
        """Report new evaluations, interrupt the training if the pruner says so, and record its end."""
        trial, metric = held.trial, self.study.space.metric
        code = process.poll()
        evaluations = process.evaluations(metric)
        for value in evaluations[held.reported :]:
            held.reported += 1
            trial.report(value, held.reported)
            # After its last evaluation a run has nothing left to save.
            if code is None and held.reported < self.study.evaluations and trial.should_prune():
                process.interrupt()
        if code is None:
            return False
        self.study.record_origin(trial, read_origin(process.run_dir))
        value = process.result(metric) if code == 0 else math.nan
        if math.isfinite(value):
            self.study.tell(trial, state="COMPLETE", value=value)
            self._print(trial, "complete", f"{metric} {value:.2f}")
        elif process.is_interrupted:
            self.study.tell(trial, state="PRUNED")
            place = f"at evaluation {len(evaluations)} of {self.study.evaluations}"
            self._print(trial, "pruned", f"{metric} {evaluations[-1]:.2f} {place}")
        elif code in (INTERRUPTED, PREEMPTED):  # by another process: the trial can be continued
            self._print(trial, "stopped", process.reason())
        else:
            self.study.tell(trial, state="FAIL")
            self._print(trial, "failed", process.reason())
        held.log.close()
        return True

    def _print(self, trial: Trial, state: str, remark: str) -> None:
        settings = " ".join(word(key, rounded(trial.params[key])) for key in self.study.space.parameters)
        print(line(trial.number, state, f"{settings}  {remark}"), flush=True)

    def _stop_all(self) -> None:
        """Stop the trainings after a checkpoint; on a second signal kill them."""
        try:
            for _, process in self.running:
                process.interrupt()
            while any(process.poll() is None for _, process in self.running):
                time.sleep(POLL_S)
        finally:
            for _, process in self.running:
                process.kill()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
