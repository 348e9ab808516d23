"""train.py and evaluate.py in separate processes, which start quickly and can break at a given point."""

import gc
import importlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.faults.places import Fault

# 20 images, two views each, in batches of 10: 4 steps per epoch, with AugMix and an inhibited step after every second.
STEPS_PER_EPOCH, STEPS = 4, 12
TINY = (
    "experiment=quickstart",
    "dataset=arrays",
    "dataset.path=data.npz",
    "backbone.width=4",
    "tenet.groups=3",
    "tenet.interval=2",
    "tenet.start_step=3",
    "trainer.batch_size=10",
    "trainer.epochs=3",
    "trainer.log_every_steps=3",
    "trainer.checkpoint_every_steps=3",
    "trainer.device=cpu",
    "hydra.run.dir=run",
)
# What commands import. It is imported once, by a server whose forks the processes are: a command then starts in a tenth
# of a second. The first use of the server decides, so all tests use this one.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([
    "pytest", "torch._dynamo", "torchvision.datasets", "safetensors.torch", "matplotlib.pyplot", "rich.progress", "wandb",
    "train", "evaluate", "tenet.experiment", "tenet.launching", "tenet.evaluation.cache", "tenet.evaluation.report",
    "tenet.evaluation.suites", "tenet.corruptions.archive", "tenet.compare.__main__", "tenet.doctor.__main__",
    "tenet.search.command", "tenet.xray.__main__",
])  # fmt: skip


def write_data(folder: Path, *, seed: int = 0, size: int = 16, count: int = 20) -> None:
    """Write `data.npz`: `count` training images and half as many test images. The class determines the brightness."""
    generator = np.random.default_rng(seed)
    arrays = {}
    for split, images in {"train": count, "test": count // 2}.items():
        labels = np.arange(images) % 3
        noise = generator.integers(60, size=(images, size, size, 3))
        arrays[f"{split}_images"] = (noise + 80 * labels[:, None, None, None]).astype(np.uint8)
        arrays[f"{split}_labels"] = labels
    np.savez(folder / "data.npz", **arrays)


class Ended(NamedTuple):
    """code: the exit code, or the negative number of the signal that ended the process."""

    code: int
    output: str


class Command:
    """`python SCRIPT.py ARGUMENTS` in the folder `cwd` and the present environment, in its own process group."""

    def __init__(self, script: str, *arguments: str, cwd: Path, fault: Fault | None = None) -> None:
        self._output, theirs = FORKS.Pipe(duplex=False)
        # A daemon, so that a failing test leaves no process behind.
        self._process = FORKS.Process(
            target=_run, args=(script, arguments, cwd, dict(os.environ), fault, theirs), daemon=True
        )
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def send(self, number: int, *, to_group: bool = False) -> None:
        with suppress(ProcessLookupError):  # it has just ended
            (os.killpg if to_group else os.kill)(self.pid, number)

    @property
    def runs(self) -> bool:
        return self._process.is_alive()

    def wait(self, *, timeout: float = 60) -> Ended:
        """Raises TimeoutError, after the process is killed, if it does not end in time."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            self._process.join()
        with os.fdopen(os.dup(self._output.fileno()), encoding="utf-8") as output:
            text = output.read()
        self._output.close()
        self._process.close()
        if code is None:
            raise TimeoutError(text)
        return Ended(code, text)


def train(*arguments: str, cwd: Path, fault: Fault | None = None) -> Ended:
    """Train the tiny run, with further arguments."""
    return Command("train", *TINY, *arguments, cwd=cwd, fault=fault).wait()


def sweep(run_dir: Path, *, cwd: Path, fault: Fault | None = None) -> Ended:
    """Evaluate four corruption cells and write the report to `cwd`."""
    return Command(
        "evaluate", f"run={run_dir}", "corruptions.names=[brightness,contrast]", "corruptions.severities=[1,3]",
        "measures.intervals=false", f"output={cwd / 'report.json'}", cwd=cwd, fault=fault,
    ).wait()  # fmt: skip


def assert_told(ended: Ended, *words: str) -> None:
    """Check that the command failed, and that its last line is an error message with all the words."""
    assert ended.code == 1, ended.output
    line = ended.output.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert "Traceback" not in ended.output
    assert [word for word in words if word not in line] == [], line


def wait_for(is_so: Callable[[], Any], *, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.002)


def figures_of(run_dir: Path) -> list[dict[str, Any]]:
    """Return the lines of `metrics.jsonl` without `speed/*`. Raises ValueError if a line is incomplete."""
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if not name.startswith("speed/")}
        for line in lines
    ]


def step_of(run_dir: Path) -> int:
    """Return the step of the checkpoint that a run would continue from; 0 if there is none."""
    from tenet.training.checkpoint import Checkpoints

    saved = Checkpoints(run_dir).load()
    return 0 if saved is None else saved["step"]


def assert_same_run(run_dir: Path, whole: Path) -> None:
    """Check that weights, optimizer and counters are bitwise equal, and the figures equal line by line."""
    from tenet.files.weights import checksum
    from tenet.training.checkpoint import Checkpoints

    assert figures_of(run_dir) == figures_of(whole)
    ours, theirs = (Checkpoints(folder).load() for folder in (run_dir, whole))
    assert ours is not None
    assert theirs is not None
    for content in (ours, theirs):
        del content["metrics"]  # compared above as lines
        content["optimizer"] = content["optimizer"]["state"]  # its settings come from the configuration
    assert checksum(ours) == checksum(theirs)
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (run_dir, whole)]
    assert weights[0] == weights[1]
    assert not list(run_dir.glob(".*.tmp"))


def _run(
    script: str, arguments: tuple[str, ...], cwd: Path, environment: dict[str, str], fault: Fault | None,
    output: Connection,
) -> None:  # fmt: skip
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]  # it may start workers
    gc.freeze()  # the garbage collector need not search the objects inherited from the fork
    os.setsid()
    for descriptor, name in {1: "stdout", 2: "stderr"}.items():
        os.dup2(output.fileno(), descriptor)
        setattr(sys, name, os.fdopen(descriptor, "w", buffering=1))
    output.close()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    os.environ.pop("WANDB_SERVICE", None)  # belongs to the tests' own process, which may have ended it
    import torch

    # Like OMP_NUM_THREADS=1: the tests share the machine.
    torch.set_num_threads(1)
    sys.argv = [f"{script}.py", *arguments]
    module = importlib.import_module(script)
    from tenet.entry import run_main

    if fault is not None:
        fault.set_up()
    if script not in ("train", "evaluate"):  # such as tenet.doctor.__main__
        sys.exit(module.main(arguments))
    sys.exit(run_main(module.main, config_dir=module.CONFIG_DIR, config_name=script))
