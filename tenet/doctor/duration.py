"""How long would the run take, and what would it cost?

A few steps, evaluations and checkpoints are timed. The forecast multiplies their times by how many are left.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from copy import copy
from itertools import chain, count, islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch

from tenet.data import ImageArrays
from tenet.doctor.findings import Finding, NotExaminedError, Plan, ok, warning
from tenet.doctor.rehearsal import INHIBITED, PLAIN, Rehearsal
from tenet.experiment import Experiment
from tenet.run.progress import format_duration
from tenet.training.checkpoint import Checkpoints

DAY_S = 86_400
LONG_S = 14 * DAY_S
# The timed steps take about this long together: if whole batches would take longer, smaller ones are timed.
BUDGET_S = 5.0
EVALUATION_BUDGET_S = 0.5
SMALLEST_BATCH, GROWTH = 4, 4
T = TypeVar("T")


class Estimate(NamedTuple):
    """A median, and the lowest and highest value."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], *, times: float = 1.0) -> "Estimate":
        return cls(times * statistics.median(values), times * min(values), times * max(values))


class Times(NamedTuple):
    """Seconds for a whole batch, for one evaluated image and for one checkpoint."""

    plain_step: Estimate
    inhibited_step: Estimate
    evaluated_image: Estimate
    checkpoint: Estimate


class Work(NamedTuple):
    """What is left to do. `batches` counts whole batches: the smaller last one of an epoch is a fraction."""

    batches: float
    steps: int
    inhibited_steps: int
    evaluated_images: int
    checkpoints: int


def check(plan: Plan) -> Iterator[Finding]:
    if plan.max_batches is None:
        raise NotExaminedError("it is not known what fits into memory")
    if min(plan.max_batches) < 2:
        raise NotExaminedError("not even two images fit into memory")
    experiment = plan.experiment
    work = count_work(experiment, done=plan.steps_done)
    if experiment.inhibited is not None and work.steps and not work.inhibited_steps:
        yield warning(
            f"tenet.start_step={experiment.inhibited.start_step}: none of the {work.steps:,} steps is inhibited",
            "a lower tenet.start_step, or tenet=none",
        )
    times, timed_batch = measure(plan, max_batches=plan.max_batches)
    yield report_steps(times, timed_batch, plan)
    run, epoch = forecast(times, work), forecast(times, count_epoch(experiment))
    yield report_run(run, epoch, work, plan)
    if plan.price_per_hour is not None:
        cost = Estimate(*(seconds / 3600 * plan.price_per_hour for seconds in run))
        what = f"cost: {cost.median:,.2f} ({cost.low:,.2f} to {cost.high:,.2f}) at {plan.price_per_hour:g} an hour"
        yield ok(what, cost=cost._asdict())


def report_steps(times: Times, timed_batch: int, plan: Plan) -> Finding:
    batch, step = whole_batch(plan.experiment), times.inhibited_step
    inhibited = f", inhibited step {format_times(step)}" if step.median else ""
    forwards = plan.experiment.method.forwards
    passes = f" of {forwards} forward passes" if forwards > 1 else ""
    part = "batches" if timed_batch == batch else f"{timed_batch} images, scaled to batches"
    images = " random stand-ins" if plan.has_stand_ins else ""
    return ok(
        f"plain step{passes} {format_times(times.plain_step)}{inhibited}, {batch / times.plain_step.median:,.0f} images/s: "
        f"medians and ranges of {plan.steps}, on {part} of {batch:,}{images}",
        timed_batch=timed_batch,
        forward_passes=forwards,
        **{f"{name}_s": estimate._asdict() for name, estimate in times._asdict().items()},
    )


def report_run(run: Estimate, epoch: Estimate, work: Work, plan: Plan) -> Finding:
    inhibited = f", {work.inhibited_steps:,} of them inhibited too" if work.inhibited_steps else ""
    start = f"the rest, from step {plan.steps_done:,} on" if plan.steps_done else "the whole run"
    what = (
        f"{start}: {format_times(run)} for {work.steps:,} steps{inhibited}, with evaluations and checkpoints; "
        f"an epoch: {format_times(epoch)}"
    )
    figures = {"run_s": run._asdict(), "epoch_s": epoch._asdict(), **work._asdict()}
    if run.median <= LONG_S:
        return ok(what, **figures)
    remedy = "a faster device (trainer.device), a smaller backbone, fewer trainer.epochs"
    return warning(what, remedy, **figures)


def count_work(experiment: Experiment, *, done: int) -> Work:
    """Everything after the step `done`, with the evaluation at the end.

    Checkpoints by the clock are left out: one in ten minutes takes no noticeable time.
    """
    settings, last, epoch = experiment.settings, experiment.last_step, count_epoch(experiment)
    steps = range(done + 1, last + 1)
    ends = [step for step in steps if step % epoch.steps == 0 or step == last]
    within = sum(
        settings.is_evaluated(end, steps_per_epoch=epoch.steps, last_step=last) for end in ends if end != last
    )
    every = settings.checkpoint_every_steps
    checkpoints = {*ends, *(step for step in steps if every is not None and step % every == 0)}
    inhibited = experiment.inhibited
    return Work(
        batches=len(steps) * epoch.batches / epoch.steps,
        steps=len(steps),
        inhibited_steps=0 if inhibited is None else sum(map(inhibited.is_due, steps)),
        evaluated_images=within * epoch.evaluated_images + experiment.held_out.count_predictions()[1],
        checkpoints=len(checkpoints),
    )


def count_epoch(experiment: Experiment) -> Work:
    """An epoch after tenet.start_step, with its evaluation and checkpoint."""
    loader, inhibited = experiment.loader, experiment.inhibited
    return Work(
        batches=loader.samples_per_epoch / whole_batch(experiment),
        steps=loader.steps_per_epoch,
        inhibited_steps=0 if inhibited is None else loader.steps_per_epoch // inhibited.interval,
        evaluated_images=experiment.held_out.count_predictions()[0],
        checkpoints=1,
    )


def whole_batch(experiment: Experiment) -> int:
    return min(experiment.loader.batch_size, experiment.loader.samples_per_epoch)


def forecast(times: Times, work: Work) -> Estimate:
    """The expected seconds; low and high if all steps were as fast as the fastest or as slow as the slowest.

    Inhibited steps count as whole batches, as if every image were right: an upper bound.
    """
    numbers = (work.batches, work.inhibited_steps, work.evaluated_images, work.checkpoints)
    bounds = zip(*times, strict=True)
    return Estimate(
        *(sum(number * time for number, time in zip(numbers, bound, strict=True)) for bound in bounds)
    )


def measure(plan: Plan, *, max_batches: tuple[int, int]) -> tuple[Times, int]:
    """Time what the run does, with at most `max_batches` images at once in training and in evaluation.

    Also returns how many images the timed batches had.
    """
    experiment = plan.experiment
    rehearsal, test, whole = Rehearsal(experiment), experiment.splits.test, whole_batch(experiment)
    size = choose_batch(rehearsal, largest=min(whole, max_batches[0]), steps=plan.steps)
    timed = time_steps(rehearsal, size, steps=plan.steps)
    steps = {name: Estimate.of(seconds, times=whole / size) for name, seconds in timed.items()}
    # A forward takes about a third of a step.
    images = max(SMALLEST_BATCH, int(EVALUATION_BUDGET_S / (steps[PLAIN].median / whole / 3)))
    images = min(images, experiment.settings.evaluation_batch_size, max_batches[1], len(test))
    part = ImageArrays(*test.read(torch.arange(images)), test.classes)
    evaluations = [seconds for seconds, _ in time_items(map(experiment.classifier.predict, [part] * 3))]
    times = Times(
        plain_step=steps[PLAIN],
        inhibited_step=steps.get(INHIBITED, Estimate(0.0, 0.0, 0.0)),
        evaluated_image=Estimate.of(evaluations[1:], times=1 / images),
        checkpoint=Estimate.of(time_checkpoints(experiment, plan.nearest_folder)),
    )
    return times, size


def choose_batch(rehearsal: Rehearsal, *, largest: int, steps: int) -> int:
    """The most images, up to `largest`, whose timed steps stay within the budget.

    Tries growing batches, because on a GPU small ones take as long as large ones.
    """
    size = min(SMALLEST_BATCH, largest)
    while True:
        seconds = time_steps(rehearsal, size, steps=1)
        fits = BUDGET_S / ((steps + 1) * sum(step[0] for step in seconds.values()))
        if size == largest or fits < GROWTH:
            return min(largest, max(size, int(size * fits)))
        size = min(largest, GROWTH * size)


def time_steps(rehearsal: Rehearsal, size: int, *, steps: int) -> dict[str, list[float]]:
    """Seconds of an iteration's steps, by their name; the plain ones include making the batch. A first round warms up."""
    loader = copy(rehearsal.experiment.loader)
    loader.batch_size = size
    endless = chain.from_iterable(map(loader.epoch, count()))
    batches = (batch for batch in endless if len(batch.labels) == size)
    seconds_by_name: dict[str, list[float]] = {}
    for loading, batch in islice(time_items(batches), steps + 1):
        spent = {PLAIN: loading}
        for seconds, name in time_items(rehearsal.steps(rehearsal.make_costly(batch))):
            spent[name] = spent.get(name, 0.0) + seconds
        for name, seconds in spent.items():
            seconds_by_name.setdefault(name, []).append(seconds)
    return {name: seconds[1:] for name, seconds in seconds_by_name.items()}


def time_items(items: Iterator[T]) -> Iterator[tuple[float, T]]:
    """The items, each with the seconds until the device has finished it."""
    synchronize = torch.cuda.synchronize if torch.cuda.is_initialized() else lambda: None
    while True:
        synchronize()
        start = time.perf_counter()
        try:
            item = next(items)
        except StopIteration:
            return
        synchronize()
        yield time.perf_counter() - start, item


def time_checkpoints(experiment: Experiment, folder: Path) -> list[float]:
    """Seconds to write a checkpoint to the disk of `folder`, twice."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as scratch:
        checkpoints = Checkpoints(Path(scratch))
        state = experiment.restore(checkpoints)
        return [seconds for seconds, _ in time_items(map(state.save, [checkpoints] * 2))]


def format_times(times: Estimate) -> str:
    """Such as `12 ms (11 to 14)`, `2:05:10 (1:58:00 to 2:20:31)` or `3.1 days (2.9 to 3.4)`."""
    if times.median >= 2 * DAY_S:
        texts, unit = [f"{seconds / DAY_S:.1f}" for seconds in times], " days"
    elif times.median >= 100:
        texts, unit = [format_duration(seconds) for seconds in times], ""
    else:
        factor, unit = (1.0, " s") if times.median >= 1 else (1000.0, " ms")
        texts = [f"{factor * seconds:.{0 if factor * times.median >= 10 else 1}f}" for seconds in times]
    return f"{texts[0]}{unit} ({texts[1]} to {texts[2]})"
