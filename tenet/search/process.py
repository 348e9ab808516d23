"""The training of a trial, in a process of its own: a crash, or a kill for memory, fails that trial alone."""

import math
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from tenet.files.json import read_json
from tenet.files.names import METRICS_FILE, SUMMARY_FILE
from tenet.run.metrics_file import read_metrics

GRACE_S = 30  # between asking a training to end and killing it: it may be in the middle of a checkpoint
RETRY_S = 10  # where another process trains in the same run folder
FOLDER_IS_HELD = "another process is working in"  # as tenet.run.folder tells it


class TrainingProcess:
    """`command` training in `run_dir`, its output appended to `log`; started at once."""

    def __init__(self, command: Sequence[str], *, run_dir: Path, log: IO[bytes]) -> None:
        self.command, self.run_dir, self.log = command, run_dir, log
        self.is_interrupted = False
        self._kill_at = math.inf
        self._start()

    def _start(self) -> None:
        self._output_starts = self.log.seek(0, os.SEEK_END)
        self._retry_at = math.inf
        # Its own session: Ctrl-C in the terminal is for the search, which ends its trainings in order.
        # Unbuffered: what it says last must stand last in the log.
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def poll(self) -> int | None:
        """The exit code; None while it trains, or waits for another process to leave its run folder."""
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
        """Ask it to end, as Ctrl-C does; it is killed if it takes longer than GRACE_S."""
        if self._process.poll() is None and not self.is_interrupted:
            self._process.send_signal(signal.SIGINT)
            self._kill_at = time.monotonic() + GRACE_S
        self.is_interrupted = True

    def kill(self) -> None:
        """End it and all that it started, at once."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def evaluations(self, metric: str) -> list[float]:
        """The metric's values so far, in order; NaN where one was not finite."""
        try:
            rows = read_metrics(self.run_dir / METRICS_FILE)
        except FileNotFoundError:
            return []
        return [float(row[metric]) for row in rows if metric in row]

    def result(self, metric: str) -> float:
        """The metric at the end of a finished run; NaN if it is not there."""
        value = read_json(self.run_dir / SUMMARY_FILE).get(metric)
        return float(value) if isinstance(value, int | float) else math.nan

    def reason(self) -> str:
        """Why it failed: its error, else what it said last."""
        with Path(self.log.name).open("rb") as file:
            file.seek(self._output_starts)
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
        errors = [line for line in lines if line.startswith("error: ")]
        said = next(iter([*errors[::-1], *filter(None, reversed(lines))]), "it said nothing")
        code = self._process.returncode
        return f"killed by {signal.Signals(-code).name}; {said}" if code and code < 0 else said
