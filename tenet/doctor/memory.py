"""Does the configuration fit into memory? Estimated from a few images; the whole batch is never allocated.

How: every tensor that comes to life in a step of 2 and of 4 images is counted, with its size, until it dies.
The most that lived at once grows linearly with the batch, so two points give that of any batch.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
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
    """Counts the bytes of all tensors made under it that are alive, and the most at once (`peak`)."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        self.peak = max(self.peak, self.live)
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        # A storage is one object in Python for as long as it lives, whatever views there are of it.
        if storage._cdata not in self._sizes:
            self._sizes[storage._cdata] = storage.nbytes()
            self.live += storage.nbytes()
            weakref.finalize(storage, self._forget, storage._cdata)

    def _forget(self, address: int) -> None:
        self.live -= self._sizes.pop(address)


class Line(NamedTuple):
    """Bytes by batch size: fixed + each * images."""

    fixed: float
    each: float

    def at(self, images: int) -> int:
        return round(self.fixed + self.each * images)

    def images_within(self, available: float) -> int:
        return max(0, int((available - self.fixed) // self.each))


class Need(NamedTuple):
    """A phase of the run: the setting of its batch, that batch's size, and the bytes it takes at most."""

    phase: str
    key: str
    images: int
    line: Line

    @property
    def peak(self) -> int:
        return self.line.at(self.images)


def check(plan: Plan) -> Iterator[Finding]:
    settings = plan.build("trainer")
    batches = {
        "trainer.batch_size": settings.batch_size,
        "trainer.evaluation_batch_size": min(settings.evaluation_batch_size, len(plan.splits.test.labels)),
    }
    needs = []
    for phase, line in measure_lines(plan).items():
        key = "trainer.evaluation_batch_size" if phase == "evaluation" else "trainer.batch_size"
        needs.append(Need(phase, key, batches[key], line))
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
        within = need.line.images_within((free - images) / factor)
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


def measure_lines(plan: Plan) -> dict[str, Line]:
    """Peak bytes of "plain step", "inhibited step" and "evaluation" by batch, weights and optimizer included."""
    height, width = plan.splits.train.images.shape[1:3]
    classes = len(plan.splits.classes)
    peaks: dict[str, list[int]] = {}
    with LiveBytes() as bytes_:
        rehearsal = Rehearsal(plan)
        device = rehearsal.device
        for batch in (BATCHES[0], *BATCHES):  # the first step makes the optimizer's state
            labels = torch.randint(classes, (batch,), device=device)
            images = torch.randn(batch, 3, height, width, device=device)
            raw = torch.zeros(batch, height, width, 3, dtype=torch.uint8, device=device)
            for name, step in rehearsal.steps().items():
                bytes_.peak = bytes_.live
                step(images, labels)
                peaks.setdefault(name, []).append(bytes_.peak)
            bytes_.peak = bytes_.live
            rehearsal.evaluate(raw, labels)
            peaks.setdefault("evaluation", []).append(bytes_.peak)
    first, second = BATCHES
    lines = {}
    for name, (_, low, high) in peaks.items():
        each = (high - low) / (second - first)
        lines[name] = Line(low - each * first, each)
    return lines


def image_bytes(plan: Plan) -> int:
    """All images lie on the device that trains."""
    parts = (plan.splits.train, plan.splits.validation, plan.splits.test)
    return sum(tensor.nbytes for part in parts if part is not None for tensor in part)


def in_bytes(count: int) -> str:
    """Such as 312 kB, 27 MB or 7.5 GB."""
    if count >= GB:
        return f"{count / GB:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
