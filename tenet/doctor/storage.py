"""Where the run would be kept: its folder, the disk below it, and whether files can be locked there."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import torch

from tenet.config.run_config import as_argument, read_config, run_id
from tenet.doctor.configuration import outline
from tenet.doctor.findings import Finding, ok, problem, warning
from tenet.doctor.hardware import GB
from tenet.doctor.plan import Plan
from tenet.files.json import read_json
from tenet.files.names import CONFIG_FILE, LOCK_FILE, SUMMARY_FILE, WEIGHTS_FILE

# While the newest checkpoint is written, it and the one before it are there still.
CHECKPOINTS_AT_ONCE = 3
# Logs, metrics, pictures, W&B's own files.
OTHER_BYTES = 100_000_000
ELSEWHERE = "hydra.run.dir=FOLDER on another disk"


class StateBytes(NamedTuple):
    weights: int
    gradients: int
    optimizer: int


def check(plan: Plan) -> Iterator[Finding]:
    yield check_folder(plan)
    yield check_locks(plan)
    yield check_space(plan)


def check_folder(plan: Plan) -> Finding:
    """New, interrupted, finished, another's, or at work: what train.py would find."""
    folder = plan.run_dir
    if not (folder / CONFIG_FILE).exists():
        return ok(f"new run folder {folder}", state="new")
    if is_locked(folder / LOCK_FILE):
        return problem(f"a process is working in {folder}", "wait for it, or end it", state="held")
    resumes = plan.config.get("resume") is not None
    if plan.config.get("rerun"):
        return ok(f"{folder} is there; rerun=true keeps it beside and starts anew", state="rerun")
    if not resumes and run_id(read_config(folder)) != run_id(plan.config):
        return problem(
            f"{folder} holds a run of another configuration or version",
            f"go on with that one ({as_argument('resume', folder)}), or choose another folder",
            state="other",
        )
    summary = read_json(folder / SUMMARY_FILE)
    if not resumes and (folder / WEIGHTS_FILE).exists() and "test/error_pct" in summary:
        return warning(
            f"{folder} has finished already, with a test error of {summary['test/error_pct']:.2f} %: the "
            "command gives that result and trains nothing",
            "rerun=true starts anew", state="finished",
        )  # fmt: skip
    from tenet.training.checkpoint import Checkpoints

    checkpoint = Checkpoints(folder).load()
    plan.steps_done = 0 if checkpoint is None else checkpoint["step"]
    return ok(
        f"interrupted run {folder}: it goes on from step {plan.steps_done:,}",
        state="interrupted", steps_done=plan.steps_done,
    )  # fmt: skip


def is_locked(path: Path) -> bool:
    """Whether another process holds the lock file."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def check_locks(plan: Plan) -> Finding:
    """Write a file and lock it twice: the second must be refused, which not every network disk does."""
    runs = plan.run_dir.parent
    try:
        with (
            tempfile.NamedTemporaryFile(dir=plan.nearest_folder, prefix=".doctor-") as first,
            Path(first.name).open() as second,
        ):
            holds = refuses_a_second_lock(first.file, second)
    except OSError as error:
        if error.filename is not None:
            return problem(f"{runs} can't be written to: {error.strerror}", ELSEWHERE)
        return problem(f"{runs} has no file locks ({error.strerror}): runs can't be kept apart", ELSEWHERE)
    if not holds:
        return problem(f"{runs} gives one lock to two holders: runs can't be kept apart", ELSEWHERE)
    return ok(f"{runs} can be written to, and holds locks")


def refuses_a_second_lock(first: IO[bytes], second: IO[str]) -> bool:
    """Raises OSError where there are no locks at all."""
    fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def check_space(plan: Plan) -> Finding:
    state = state_bytes(plan, num_classes=len(plan.splits.classes))
    checkpoint = state.weights + state.optimizer
    needed = CHECKPOINTS_AT_ONCE * checkpoint + state.weights + OTHER_BYTES
    free = shutil.disk_usage(plan.nearest_folder).free
    told = (
        f"{plan.run_dir.parent}: {free / GB:.1f} GB free, the run needs {needed / GB:.1f} GB "
        f"(a checkpoint is {checkpoint / 1e6:,.0f} MB)"
    )
    figures = {"free_bytes": free, "needed_bytes": needed, "checkpoint_bytes": checkpoint}
    if free < needed:
        return problem(told, f"free some space, or {ELSEWHERE}", **figures)
    return ok(told, **figures)


def state_bytes(plan: Plan, *, num_classes: int) -> StateBytes:
    """What the weights, their gradients and the optimizer hold, from one optimizer step on the meta device."""
    model = outline(plan, num_classes=num_classes)
    optimizer = plan.build("optimizer", model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    kept = [value for state in optimizer.state.values() for value in state.values()]
    return StateBytes(
        _bytes([*model.parameters(), *model.buffers()]),
        _bytes([parameter.grad for parameter in model.parameters()]),
        _bytes([value for value in kept if isinstance(value, torch.Tensor)]),
    )


def _bytes(tensors: Sequence) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
