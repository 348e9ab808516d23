"""Seconds that a training step takes, an evaluation and a checkpoint: a few of each, on real batches."""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tenet.data import TrainingLoader
from tenet.doctor.plan import Plan
from tenet.doctor.rehearsal import INHIBITED, PLAIN, Rehearsal
from tenet.training.checkpoint import Checkpoints

if TYPE_CHECKING:
    from tenet.data import Batch

# The timed steps take about so long together: where whole batches would take longer, parts of them are timed.
BUDGET_S = 5.0
EVALUATION_BUDGET_S = 0.5
SMALLEST_BATCH, GROWTH = 4, 4


class Spread(NamedTuple):
    """Seconds: the median of the timed ones, and their range."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: Sequence[float], *, times: float = 1.0) -> "Spread":
        return cls(times * statistics.median(seconds), times * min(seconds), times * max(seconds))


class Times(NamedTuple):
    """Of a whole batch, of one evaluated image and of one checkpoint; `timed_batch` images were really timed."""

    plain: Spread
    inhibited: Spread
    evaluated_image: Spread
    checkpoint: Spread
    timed_batch: int


def measure(plan: Plan, loader: TrainingLoader, *, limits: tuple[int, int]) -> Times:
    """Time what a run of the plan does, on no more images at once than the `limits` of training and evaluation."""
    rehearsal = Rehearsal(plan)
    whole = min(loader.batch_size, loader.samples_per_epoch)
    augmentation = plan.build("augment")
    if rehearsal.settings.compile and plan.device.type == "cuda":
        augmentation.compile()

    def batches_of(size: int) -> "Iterator[Batch]":
        part = TrainingLoader(
            loader.arrays,
            augmentation=augmentation,
            normalization=loader.normalization,
            batch_size=size,
            seed=loader.seed,
        )
        return (batch for batch in chain.from_iterable(map(part.epoch, count())) if len(batch.labels) == size)

    size = choose_batch(rehearsal, batches_of, largest=min(whole, limits[0]), steps=plan.steps)
    timed = time_steps(rehearsal, batches_of(size), steps=plan.steps)
    steps = {name: Spread.of(seconds, times=whole / size) for name, seconds in timed.items()}
    test = plan.splits.test
    # A forward pass takes about a third of a step.
    images = max(SMALLEST_BATCH, int(EVALUATION_BUDGET_S / (steps[PLAIN].median / whole / 3)))
    images = min(images, rehearsal.settings.evaluation_batch_size, limits[1], len(test.labels))
    part = test.images[:images].to(plan.device), test.labels[:images].to(plan.device)
    evaluations = [seconds_of(rehearsal, lambda: rehearsal.evaluate(*part)) for _ in range(3)]
    return Times(
        plain=steps[PLAIN],
        inhibited=steps.get(INHIBITED, Spread(0.0, 0.0, 0.0)),
        evaluated_image=Spread.of(evaluations[1:], times=1 / images),
        checkpoint=Spread.of([time_checkpoint(rehearsal, plan.nearest_folder) for _ in range(2)]),
        timed_batch=size,
    )


def choose_batch(
    rehearsal: Rehearsal, batches_of: "Callable[[int], Iterator[Batch]]", *, largest: int, steps: int
) -> int:
    """The most images, up to `largest`, whose timed steps stay within the budget; tried on growing batches,
    since on a GPU small ones take as long as large ones."""
    size = min(SMALLEST_BATCH, largest)
    while True:
        seconds = time_steps(rehearsal, batches_of(size), steps=1)
        fits = BUDGET_S / ((steps + 1) * sum(step[0] for step in seconds.values()))
        if size == largest or fits < GROWTH:
            return min(largest, max(size, int(size * fits)))
        size = min(largest, GROWTH * size)


def time_steps(rehearsal: Rehearsal, batches: "Iterator[Batch]", *, steps: int) -> dict[str, list[float]]:
    """Seconds of each step by name; the plain one's with the making of its batch. A first round warms up."""
    timed: dict[str, list[float]] = {name: [] for name in rehearsal.steps()}
    for _ in range(steps + 1):
        loaded: list[Batch] = []
        loading = seconds_of(rehearsal, lambda: loaded.append(next(batches)))  # noqa: B023 (called at once)
        for name, step in rehearsal.steps().items():
            seconds = seconds_of(rehearsal, lambda: step(*loaded[0]))  # noqa: B023
            timed[name].append(seconds + (loading if name == PLAIN else 0.0))
    return {name: seconds[1:] for name, seconds in timed.items()}


def seconds_of(rehearsal: Rehearsal, action: Callable[[], object]) -> float:
    rehearsal.wait()
    start = time.perf_counter()
    action()
    rehearsal.wait()
    return time.perf_counter() - start


def time_checkpoint(rehearsal: Rehearsal, folder: Path) -> float:
    """Seconds to write one on the disk where the run would."""
    scratch = Path(tempfile.mkdtemp(dir=folder, prefix=".doctor-"))
    try:
        state = {"model": rehearsal.model.state_dict(), "optimizer": rehearsal.optimizer.state_dict()}
        return seconds_of(rehearsal, lambda: Checkpoints(scratch).save(state))
    finally:
        shutil.rmtree(scratch)
