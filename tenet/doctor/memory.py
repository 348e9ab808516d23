"""Does the run fit into memory? Estimated from a few images; the whole batch is never allocated.

Every tensor that a step creates is counted, with its size, until it is freed. The memory in use after any one
operation grows linearly with the batch, so the same steps with 2 and with 4 images give the memory of any batch after
each operation. The maximum over the operations is the peak.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tenet.data import ImageArrays
from tenet.doctor.findings import Finding, Plan, ok, problem, warning
from tenet.doctor.hardware import GB, free_device_memory
from tenet.doctor.rehearsal import Rehearsal
from tenet.doctor.storage import measure_state
from tenet.experiment import Experiment

BATCHES = (2, 4)
EVALUATION = "evaluation"
# What allocators may hold beyond the tensors, as a factor. CPU: fragments of the C library's heap, which doubled the
# memory of small networks. CUDA: cached blocks, workspaces of convolutions.
ALLOCATOR_FACTORS = {"cpu": 2.0, "cuda": 1.25}
T = TypeVar("T")


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all live tensors that were created under it: now (`live`), and after each operation."""

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.history: list[int] = []
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and not tensor.is_meta:
                # All views of a storage share one Python object, which lives as long as the storage.
                storage = tensor.untyped_storage()
                if storage not in self._known:
                    self._known.add(storage)
                    self._count(storage.nbytes())
                    weakref.finalize(storage, self._count, -storage.nbytes())
        self.history.append(self.live)
        return result

    def _count(self, difference: int) -> None:
        self.live += difference

    def watch(self, items: Iterator[T]) -> Iterator[tuple[T, list[int]]]:
        """The items, each with the history of its creation."""
        self.history.clear()
        for item in items:
            yield item, list(self.history)
            self.history.clear()


class PeakMemory:
    """Peak bytes of a phase by batch size: the maximum over its operations of `fixed + each * images`."""

    def __init__(self, histories: Sequence[list[int]]) -> None:
        """histories: bytes in use after each operation, for the two BATCHES."""
        first, second = histories
        if len(first) != len(second):  # different operations, so only the peaks can be compared
            first, second = [max(first)], [max(second)]
        each = [(high - low) / (BATCHES[1] - BATCHES[0]) for low, high in zip(first, second, strict=True)]
        self.lines = {(low - slope * BATCHES[0], slope) for low, slope in zip(first, each, strict=True)}

    def at(self, images: int) -> int:
        return round(max(fixed + each * images for fixed, each in self.lines))

    def max_images(self, available: float) -> int:
        """The largest batch that needs no more than `available` bytes."""
        if self.at(1) > available:
            return 0
        return int(min((available - fixed) // each for fixed, each in self.lines if each > 0))


def check(plan: Plan) -> Iterator[Finding]:
    settings, splits = plan.experiment.settings, plan.experiment.splits
    device = plan.experiment.device
    evaluated = min(settings.evaluation_batch_size, len(splits.test))
    phases = measure_phases(plan)
    batches = {name: evaluated if name == EVALUATION else settings.batch_size for name in phases}
    # On CUDA the device holds the training images alone.
    held = [splits.train] if device.type == "cuda" else [part for part in splits if part]
    images = sum(part.held_bytes for part in held)
    state = {**measure_state(plan)._asdict(), "images": images}
    sizes = ", ".join(
        f"{name.replace('images', 'data set')} {format_bytes(size)}" for name, size in state.items() if size
    )
    yield ok(sizes, **{f"{name}_bytes": size for name, size in state.items()})
    peaks = ", ".join(
        f"{name} of {batch:,} images {format_bytes(phases[name].at(batch))}"
        for name, batch in batches.items()
    )
    yield ok(f"peaks, with weights: {peaks} (tensors; estimated from {BATCHES[0]} and {BATCHES[1]} images)")
    yield compare_with_free(phases, batches, plan, images=images, free=free_device_memory(device))


def compare_with_free(
    phases: Mapping[str, PeakMemory], batches: Mapping[str, int], plan: Plan, *, images: int, free: int
) -> Finding:
    """Compare the phase that needs most with the `free` bytes, and note the batches that would fit.

    images: bytes of the data set.
    """
    device = plan.experiment.device
    factor = ALLOCATOR_FACTORS[device.type]
    fitting = {name: memory.max_images((free - images) / factor) for name, memory in phases.items()}
    training = min(batch for name, batch in fitting.items() if name != EVALUATION)
    plan.max_batches = (training, fitting[EVALUATION])
    peaks = {name: phases[name].at(batch) for name, batch in batches.items()}
    largest = max(peaks, key=peaks.__getitem__)
    needed = peaks[largest] + images
    what = f"needs {needed / GB:.1f} GB of the {free / GB:.1f} GB that are free on {device}"
    key, fits = (
        ("evaluation_batch_size", fitting[EVALUATION]) if largest == EVALUATION else ("batch_size", training)
    )
    remedy = f"trainer.{key}={fits}" if fits >= 1 else "a smaller backbone"
    figures = {"peak_bytes": peaks, "needed_bytes": needed, "free_bytes": free}
    if needed > free:
        return problem(what, remedy, **figures)
    if images + factor * peaks[largest] > free:
        return warning(f"{what}; allocators may take {factor:g} times as much", remedy, **figures)
    return ok(what, **figures)


def measure_phases(plan: Plan) -> dict[str, PeakMemory]:
    """Of "plain step", "inhibited step" and "evaluation"; weights and optimizer are included."""
    histories: dict[str, list[list[int]]] = {}
    with LiveBytes() as bytes_:
        # Parts of its own, because all of them must be created here to be counted.
        experiment = Experiment(plan.config)
        experiment.splits = plan.experiment.splits
        if experiment.inhibited is not None:
            # The number of grouping iterations depends on the images; the memory of an iteration does not.
            experiment.inhibited.max_iterations = 1
        rehearsal = Rehearsal(experiment)
        for size in (BATCHES[0], *BATCHES):  # the first step creates the optimizer's state
            of_iteration: dict[str, list[int]] = {}
            for phase, history in bytes_.watch(rehearsal.steps(rehearsal.random_batch(size))):
                of_iteration.setdefault(phase, []).extend(history)
            for phase, history in of_iteration.items():
                histories.setdefault(phase, []).append(history)
            test = experiment.splits.test
            part = ImageArrays(*test.read(torch.arange(size)), test.classes).to(experiment.device)
            for _, history in bytes_.watch(map(experiment.classifier.predict, [part])):
                histories.setdefault(EVALUATION, []).append(history)
    return {phase: PeakMemory(found[1:]) for phase, found in histories.items()}


def format_bytes(count: int) -> str:
    """Such as 312 kB, 27 MB or 7.5 GB."""
    if count >= GB:
        return f"{count / GB:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
