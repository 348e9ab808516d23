"""Does the configuration fit into memory? Estimated from a few images; the whole batch is never allocated.

How: every tensor that comes to life in a step is counted, with its size, until it dies. What is alive after any
one operation grows linearly with the batch, so that the same steps of 2 and of 4 images give that of any batch,
operation by operation; the most of them is the peak.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tenet.doctor.findings import Finding, ok, problem, warning
from tenet.doctor.hardware import GB, free_device_memory
from tenet.doctor.plan import Plan
from tenet.doctor.rehearsal import Rehearsal
from tenet.doctor.storage import state_bytes

BATCHES = (2, 4)
# What allocators may hold beyond the tensors, as a factor. CPUs: fragments of the C library's heap, seen to
# double small networks. CUDA: blocks that are cached, workspaces of the convolutions.
ALLOCATOR_FACTORS = {"cpu": 2.0, "cuda": 1.25}


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors made under it that are alive: now (`live`), and after each operation."""

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.history: list[int] = []
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        self.history.append(self.live)
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        # A storage is one object in Python for as long as it lives, whatever views there are of it.
        if storage._cdata not in self._sizes:
            self._sizes[storage._cdata] = storage.nbytes()
            self.live += storage.nbytes()
            weakref.finalize(storage, self._forget, storage._cdata)

    def _forget(self, address: int) -> None:
        self.live -= self._sizes.pop(address)

    def during(self, action: Callable[[], object]) -> list[int]:
        """The history of an action alone."""
        self.history.clear()
        action()
        return list(self.history)


class Demand:
    """Bytes by batch size: the most of fixed + each * images, over the operations of a phase."""

    def __init__(self, histories: Sequence[list[int]]) -> None:
        """What is alive after each operation, for the two BATCHES."""
        first, second = histories
        if len(first) != len(second):  # the operations were others: their peaks must do
            first, second = [max(first)], [max(second)]
        each = [(high - low) / (BATCHES[1] - BATCHES[0]) for low, high in zip(first, second, strict=True)]
        self.lines = {(low - slope * BATCHES[0], slope) for low, slope in zip(first, each, strict=True)}

    def at(self, images: int) -> int:
        return round(max(fixed + each * images for fixed, each in self.lines))

    def images_within(self, available: float) -> int:
        if self.at(1) > available:
            return 0
        return int(min((available - fixed) // each for fixed, each in self.lines if each > 0))


class Need(NamedTuple):
    """A phase of the run: the setting of its batch, that batch's size, and the bytes it takes at most."""

    phase: str
    key: str
    images: int
    demand: Demand

    @property
    def peak(self) -> int:
        return self.demand.at(self.images)


def check(plan: Plan) -> Iterator[Finding]:
    settings = plan.build("trainer")
    batches = {
        "trainer.batch_size": settings.batch_size,
        "trainer.evaluation_batch_size": min(settings.evaluation_batch_size, len(plan.splits.test.labels)),
    }
    needs = []
    for phase, demand in measure_demands(plan).items():
        key = "trainer.evaluation_batch_size" if phase == "evaluation" else "trainer.batch_size"
        needs.append(Need(phase, key, batches[key], demand))
    state, images = state_bytes(plan, num_classes=len(plan.splits.classes)), image_bytes(plan)
    yield ok(
        f"weights {in_bytes(state.weights)}, gradients {in_bytes(state.gradients)}, "
        f"optimizer {in_bytes(state.optimizer)}, data set {in_bytes(images)}",
        **{f"{name}_bytes": value for name, value in state._asdict().items()}, images_bytes=images,
    )  # fmt: skip
    told = ", ".join(f"{need.phase} of {need.images:,} images {in_bytes(need.peak)}" for need in needs)
    yield ok(f"peaks, weights and all: {told} (tensors; reckoned from {BATCHES[0]} and {BATCHES[1]})")
    yield judge(needs, plan, images=images, free=free_device_memory(plan))


def judge(needs: Sequence[Need], plan: Plan, *, images: int, free: int) -> Finding:
    """Hold the phase that needs most against what is free, and note the batches that would fit."""
    factor = ALLOCATOR_FACTORS[plan.device.type]
    fitting: dict[str, int] = {}
    for need in needs:
        within = need.demand.images_within((free - images) / factor)
        fitting[need.key] = min(within, fitting.get(need.key, within))
    plan.limits = (fitting["trainer.batch_size"], fitting["trainer.evaluation_batch_size"])
    most = max(needs, key=lambda need: need.peak)
    needed = most.peak + images
    told = f"needs {needed / GB:.1f} GB of the {free / GB:.1f} GB that are free on {plan.device}"
    remedy = f"{most.key}={fitting[most.key]}" if fitting[most.key] >= 1 else "a smaller backbone"
    figures = {
        "peak_bytes": {need.phase: need.peak for need in needs},
        "needed_bytes": needed,
        "free_bytes": free,
    }
    if needed > free:
        return problem(told, remedy, **figures)
    if images + factor * most.peak > free:
        return warning(f"{told}; allocators may take {factor:g} times as much", remedy, **figures)
    return ok(told, **figures)


def measure_demands(plan: Plan) -> dict[str, Demand]:
    """Of "plain step", "inhibited step" and "evaluation", weights and optimizer included."""
    height, width = plan.splits.train.images.shape[1:3]
    histories: dict[str, list[list[int]]] = {}
    with LiveBytes() as bytes_:
        rehearsal = Rehearsal(plan)
        if rehearsal.inhibition is not None:
            # How often the grouping iterates depends on the images, what an iteration holds does not.
            rehearsal.inhibition = replace(rehearsal.inhibition, max_iterations=1)
        device = rehearsal.device
        for batch in (BATCHES[0], *BATCHES):  # the first step makes the optimizer's state
            images = torch.randn(batch, 3, height, width, device=device)
            raw = torch.zeros(batch, height, width, 3, dtype=torch.uint8, device=device)
            labels = torch.zeros(batch, dtype=torch.int64, device=device)
            actions = {name: partial(step, images, labels) for name, step in rehearsal.steps().items()}
            actions["evaluation"] = partial(rehearsal.evaluate, raw, labels)
            for phase, action in actions.items():
                histories.setdefault(phase, []).append(bytes_.during(action))
    return {phase: Demand(found[1:]) for phase, found in histories.items()}


def image_bytes(plan: Plan) -> int:
    """All images lie on the device that trains."""
    parts = (plan.splits.train, plan.splits.validation, plan.splits.test)
    return sum(tensor.nbytes for part in parts if part is not None for tensor in part)


def in_bytes(count: int) -> str:
    """Such as 312 kB, 27 MB or 7.5 GB."""
    if count >= GB:
        return f"{count / GB:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
