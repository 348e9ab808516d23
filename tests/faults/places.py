"""Faults: the point where a process breaks, and how. They are set up in the process before its command starts."""

import importlib
import json
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenet.run.lock import LOCK_TEXT

# place -> the module and function whose call triggers the fault.
CALLS = {
    "configuration": ("train", "write_config"),
    "data": ("tenet.data.datasets", "Dataset.load"),
    "descent": ("tenet.training.optimizer", "GuardedOptimizer.step"),
    "inhibited": ("tenet.methods.inhibited", "inhibition_mask"),
    "evaluation": ("tenet.evaluation.classifier", "Classifier.logits"),
    "checkpoint": ("tenet.training.checkpoint", "Checkpoints.save"),
    "closing": ("tenet.training.books", "Bookkeeper.save"),
    "metrics": ("tenet.run.metrics_file", "MetricsFile.write"),
    "summary": ("tenet.tracking", "Tracker.summarize"),
    "weights": ("tenet.files.weights", "save_weights"),
    "attack": ("tenet.evaluation.attacked", "attack_batch"),
    "cell": ("tenet.evaluation.cache", "PredictionCache.save"),
    "figures": ("tenet.evaluation.report", "write_figures"),
}


def forbid_files_to_grow() -> None:
    """Make all writes of this process fail, as if the disk were full (EFBIG)."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def fill_the_disk_with_ballast() -> None:
    """Fill the small disk that is mounted as the run folder."""
    with suppress(OSError), Path("run/ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(1024))


ACTIONS: dict[str, Callable[[], Any]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "term": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "usr1": lambda: os.kill(os.getpid(), signal.SIGUSR1),
    "hup": lambda: os.kill(os.getpid(), signal.SIGHUP),
    "int": lambda: os.kill(os.getpid(), signal.SIGINT),
    "forbid": forbid_files_to_grow,
    "fill": fill_the_disk_with_ballast,
    "replace": lambda: (Path("run").rename("moved"), Path("run").mkdir()),
    "remove": lambda: shutil.rmtree("run"),
    "unlock": lambda: Path("run/.lock").unlink(),
    "take over": lambda: Path("run/.lock").write_text(f"{LOCK_TEXT}node2 process 7 abc\n"),
    "sleep": lambda: (Path("asleep").touch(), time.sleep(60)),
}


@dataclass(frozen=True)
class Fault:
    """action: a key of ACTIONS. place: a key of CALLS, `half FILE` (in the middle of writing the file) or `named FILE`
    (after the file was renamed). count: the call that triggers the fault, counted from 1."""

    action: str
    place: str
    count: int = 1

    def set_up(self) -> None:
        kind, _, name = self.place.partition(" ")
        if kind == "half" and name.endswith(".jsonl"):
            self._in("tenet.run.metrics_file", "MetricsFile.write", self._tear_line)
        elif kind == "half":
            self._in("pathlib", "Path.write_bytes", self._tear, only=lambda path, _: f".{name}." in path.name)
        elif kind == "named":
            self._in("pathlib", "Path.replace", self._after, only=lambda _, target: target.name == name)
        else:
            self._in(*CALLS[self.place], self._before)

    def _in(
        self, module: str, path: str, act: Callable[..., Any], only: Callable[..., bool] = lambda *_: True
    ) -> None:
        """Replace the `count`-th call of a function by `act`."""
        holder: Any = importlib.import_module(module)
        *parents, name = path.split(".")
        for parent in parents:
            holder = getattr(holder, parent)
        original, calls = getattr(holder, name), 0

        def broken(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += only(*args)
            if calls == self.count and only(*args):
                return act(original, *args, **kwargs)
            return original(*args, **kwargs)

        setattr(holder, name, broken)

    def _before(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        ACTIONS[self.action]()
        return original(*args, **kwargs)

    def _after(self, original: Callable[..., Any], *args: Any) -> Any:
        result = original(*args)
        ACTIONS[self.action]()
        return result

    def _tear(self, original: Callable[..., Any], path: Path, content: Any) -> Any:
        original(path, content[: len(content) // 2])
        return self._before(original, path, content)

    def _tear_line(self, original: Callable[..., Any], file: Any, metrics: Any, *, step: int) -> Any:
        line = json.dumps({"step": step, **metrics})
        with file.path.open("a") as half:
            half.write(line[: len(line) // 2])
        return self._before(original, file, metrics, step=step)
