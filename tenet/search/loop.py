"""The search itself: as many trainings at a time as there are workers, until the study has all its trials."""

import math
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from tenet.config.command_line import plan
from tenet.failures import INTERRUPTED, PREEMPTED
from tenet.search.process import TrainingProcess
from tenet.search.report import line, plain_value
from tenet.search.space import word
from tenet.search.study import HeldTrial, Study

if TYPE_CHECKING:
    from optuna import Trial

POLL_S = 0.2
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Running:
    """A trial under way. reported: how many of its evaluations the study has."""

    held: HeldTrial
    process: TrainingProcess
    reported: int

    @property
    def trial(self) -> "Trial":
        return self.held.trial


class Search:
    """Runs the trials of a study with the train.py in `root`; evaluations: of a whole run."""

    def __init__(self, study: Study, *, root: Path, workers: int, evaluations: int) -> None:
        self.study, self.root = study, root
        self.workers, self.evaluations = workers, evaluations
        self.running: list[Running] = []

    def run(self) -> None:
        """Until all trials are finished, by whichever process. Raises KeyboardInterrupt on Ctrl-C and its
        like, after its trainings have ended; their trials are left to be gone on with."""
        before = {number: signal.signal(number, _interrupt) for number in ENDING_SIGNALS}
        print(
            f"study {self.study.space.name}: {self.study.total} trials, {self.study.space.metric} to "
            f"{self.study.space.goal}, in {self.study.storage}"
        )
        if self.workers > 1:  # left to itself, each training would take a thread for every core
            os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self.workers)))
        waits = False
        try:
            while self.running or not self.study.is_done:
                while len(self.running) < self.workers and (held := self.study.next_trial()):
                    self._start(held)
                if not self.running and not waits:
                    print("waiting for trials that other processes run", flush=True)
                waits = not self.running
                time.sleep(POLL_S)
                self.running = [running for running in self.running if not self._is_over(running)]
        finally:
            self._end_all()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _start(self, held: HeldTrial) -> None:
        words = self.study.space.words(held.trial.params)
        run_dir, _ = plan(words, config_dir=self.root / "conf", config_name="train")
        command = [sys.executable, str(self.root / "train.py"), *words]
        process = TrainingProcess(command, run_dir=run_dir, log=held.log)
        self.running.append(Running(held, process, reported=held.reported))
        print(line(held.trial.number, "goes on" if held.goes_on else "started", str(run_dir)), flush=True)

    def _is_over(self, running: Running) -> bool:
        """Report what is new of a trial, and let the pruner judge; at its end, tell the study."""
        trial, process, metric = running.trial, running.process, self.study.space.metric
        code = process.poll()
        evaluations = process.evaluations(metric)
        for value in evaluations[running.reported :]:
            running.reported += 1
            trial.report(value, running.reported)
            # A run that has been evaluated for the last time is as good as finished.
            if code is None and running.reported < self.evaluations and trial.should_prune():
                process.interrupt()
        if code is None:
            return False
        value = process.result(metric) if code == 0 else math.nan
        if math.isfinite(value):
            self.study.tell(trial, state="COMPLETE", value=value)
            self._tell(trial, "complete", f"{metric} {value:.2f}")
        elif process.is_interrupted:
            self.study.tell(trial, state="PRUNED")
            self._tell(
                trial,
                "pruned",
                f"{metric} {evaluations[-1]:.2f} at evaluation {len(evaluations)} of {self.evaluations}",
            )
        elif code in (INTERRUPTED, PREEMPTED):
            # By somebody else: the trial is free to be gone on with.
            self._tell(trial, "stopped", process.reason())
        else:
            self.study.tell(trial, state="FAIL")
            self._tell(trial, "failed", process.reason())
        running.held.log.close()
        return True

    def _tell(self, trial: "Trial", state: str, remark: str) -> None:
        settings = " ".join(word(key, plain_value(trial.params[key])) for key in self.study.space.parameters)
        print(line(trial.number, state, f"{settings}  {remark}"), flush=True)

    def _end_all(self) -> None:
        """End what still trains: in order, or at once if interrupted again."""
        try:
            for running in self.running:
                running.process.interrupt()
            while any(running.process.poll() is None for running in self.running):
                time.sleep(POLL_S)
        finally:
            for running in self.running:
                running.process.kill()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
