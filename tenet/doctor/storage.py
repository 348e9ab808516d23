"""The run folder and its disk: the state of the run, file locks, free space."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tenet.config.build import build
from tenet.doctor.findings import Finding, Plan, ok, problem, warning
from tenet.doctor.hardware import GB
from tenet.errors import ConfigError
from tenet.experiment import build_on_meta
from tenet.files import atomic
from tenet.files.names import CONFIG_FILE, LOCK_FILE
from tenet.run.contents import check_is_free
from tenet.run.folder import RunFolder
from tenet.training.checkpoint import Checkpoints

# While a checkpoint is written, the last two are kept.
CHECKPOINTS_AT_ONCE = 3
# Logs, metrics, pictures, W&B's own files.
OTHER_BYTES = 100_000_000
ELSEWHERE = "hydra.run.dir=FOLDER on another disk"


class StateBytes(NamedTuple):
    weights: int
    gradients: int
    optimizer: int
    average: int = 0


def check(plan: Plan) -> Iterator[Finding]:
    yield check_run_folder(plan)
    yield check_locks(plan)
    yield check_free_space(plan)


def check_run_folder(plan: Plan) -> Finding:
    """Whether the run is new, interrupted, finished or in progress, or the folder belongs to another run."""
    folder, lock = plan.run_dir, plan.run_dir / LOCK_FILE
    try:
        check_is_free(folder)
    except ConfigError as error:
        return problem(str(error), state="other")
    if not (folder / CONFIG_FILE).exists():
        return ok(f"new run folder {folder}", state="new")
    if lock.exists():
        with lock.open() as file:
            is_held = not atomic.take_lock(file)
        if is_held:
            return problem(f"a process is working in {folder}", "wait for it, or end it", state="held")
    if plan.config.get("rerun"):
        return ok(f"{folder} exists; rerun=true keeps it under another name and starts again", state="rerun")
    if plan.config.get("resume") is None:
        try:
            error_pct = RunFolder(folder).take(plan.config)
        except ConfigError as error:
            return problem(str(error), state="other")
        if error_pct is not None:
            return warning(
                f"{folder} has finished already, with an error of {error_pct:.2f} %: the command returns that "
                "result and trains nothing",
                "rerun=true starts again", state="finished",
            )  # fmt: skip
    checkpoint = Checkpoints(folder).load()
    done = plan.steps_done = 0 if checkpoint is None else checkpoint["step"]
    what = f"interrupted run {folder}: it continues from step {done:,}"
    return ok(what, state="interrupted", steps_done=done)


def check_locks(plan: Plan) -> Finding:
    """Write a file and lock it twice. The second lock must be refused, which some network disks don't do."""
    runs = plan.run_dir.parent
    try:
        with (
            tempfile.NamedTemporaryFile(dir=plan.nearest_folder, prefix=".doctor-") as first,
            Path(first.name).open() as second,
        ):
            try_lock(first.file)
            if try_lock(second):
                return problem(f"{runs} gives one lock to two holders: runs can't be kept apart", ELSEWHERE)
    except OSError as error:
        if error.filename is not None:
            return problem(f"{runs} can't be written to: {error.strerror}", ELSEWHERE)
        return problem(f"{runs} has no file locks ({error.strerror}): runs can't be kept apart", ELSEWHERE)
    return ok(f"{runs} can be written to, and holds locks")


def try_lock(file: IO[Any]) -> bool:
    """Lock the file; False if it is locked already. Raises OSError if the disk has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def check_free_space(plan: Plan) -> Finding:
    state = measure_state(plan)
    checkpoint = state.weights + state.optimizer + state.average
    needed = CHECKPOINTS_AT_ONCE * checkpoint + state.weights + state.average + OTHER_BYTES
    free = shutil.disk_usage(plan.nearest_folder).free
    what = (
        f"{plan.run_dir.parent}: {free / GB:.1f} GB free, the run needs {needed / GB:.1f} GB "
        f"(a checkpoint is {checkpoint / 1e6:,.0f} MB)"
    )
    figures = {"free_bytes": free, "needed_bytes": needed, "checkpoint_bytes": checkpoint}
    if free < needed:
        return problem(what, f"free some space, or {ELSEWHERE}", **figures)
    return ok(what, **figures)


def measure_state(plan: Plan) -> StateBytes:
    """Bytes of the weights, their gradients, the optimizer's state and the averaged weights, from one step on the meta
    device."""
    model = build_on_meta(plan.config["backbone"], num_classes=len(plan.experiment.splits.classes))
    optimizer = build(plan.config["optimizer"], model.parameters(), key="optimizer")
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    weights, buffers, values = (
        sum(value.nbytes for value in values if isinstance(value, Tensor))
        for values in (model.parameters(), model.buffers(), tree_leaves(dict(optimizer.state)))
    )
    average = 0 if plan.config["ema"]["decay"] is None else weights + buffers
    return StateBytes(weights + buffers, gradients=weights, optimizer=values, average=average)
