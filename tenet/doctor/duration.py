"""How long would the run take, and what would it cost? The work that is left, times what was timed."""

import math
import sys
from collections.abc import Iterator
from typing import NamedTuple

from tenet.data import Splits, TrainingLoader
from tenet.doctor.findings import Finding, NotExaminedError, ok, warning
from tenet.doctor.plan import Plan
from tenet.doctor.steps import Spread, Times, measure
from tenet.inhibition import Inhibition
from tenet.run.progress import format_duration
from tenet.training.settings import TrainingSettings

DAY_S = 86_400
LONG_S = 14 * DAY_S


class Work(NamedTuple):
    """What is left to do: `batches` counts whole ones, so that an epoch's smaller last one is a part of one."""

    batches: float
    steps: int
    inhibited_steps: int
    evaluated_images: int
    checkpoints: int


def check(plan: Plan) -> Iterator[Finding]:
    settings, inhibition = plan.build("trainer"), plan.build("tenet")
    if plan.limits is None:
        raise NotExaminedError("it is not known what fits into memory")
    if min(plan.limits) < 2:
        raise NotExaminedError("not even two images fit into memory")
    loader = TrainingLoader(
        plan.splits.train.to(plan.device),
        augmentation=plan.build("augment"),
        normalization=plan.build("dataset").normalization,
        batch_size=settings.batch_size,
        seed=plan.config["seed"],
    )
    work = count_work(settings, inhibition, loader, plan.splits, done=plan.steps_done)
    if inhibition is not None and work.steps and not work.inhibited_steps:
        yield warning(
            f"tenet.start_step={inhibition.start_step}: of the {work.steps:,} steps none is inhibited",
            "a lower tenet.start_step, or tenet=none",
        )
    times = measure(plan, loader, limits=plan.limits)
    yield tell_steps(times, min(settings.batch_size, loader.samples_per_epoch), plan)
    epoch = epoch_work(inhibition, loader, plan.splits)
    yield tell_run(forecast(times, work), forecast(times, epoch), work, plan)
    if plan.price_per_hour is not None:
        cost = Spread(*(seconds / 3600 * plan.price_per_hour for seconds in forecast(times, work)))
        yield ok(
            f"cost: {cost.median:,.2f} ({cost.low:,.2f} to {cost.high:,.2f}) at {plan.price_per_hour:g} an hour",
            cost=cost._asdict(),
        )


def tell_steps(times: Times, batch: int, plan: Plan) -> Finding:
    inhibited = f", inhibited step {tell(times.inhibited)}" if times.inhibited.median else ""
    part = "batches" if times.timed_batch == batch else f"{times.timed_batch} images, scaled to batches"
    images = " random stand-ins" if plan.stands_in else ""
    return ok(
        f"plain step {tell(times.plain)}{inhibited}, {batch / times.plain.median:,.0f} images/s: medians and "
        f"ranges of {plan.steps}, on {part} of {batch:,}{images}",
        plain_step_s=times.plain._asdict(),
        inhibited_step_s=times.inhibited._asdict(),
        evaluated_image_s=times.evaluated_image._asdict(),
        checkpoint_s=times.checkpoint._asdict(),
        timed_batch=times.timed_batch,
    )


def tell_run(run: Spread, epoch: Spread, work: Work, plan: Plan) -> Finding:
    inhibited = f", {work.inhibited_steps:,} of them inhibited too" if work.inhibited_steps else ""
    start = f"the rest, from step {plan.steps_done:,} on" if plan.steps_done else "the whole run"
    told = (
        f"{start}: {tell(run)} for {work.steps:,} steps{inhibited}, with evaluations and checkpoints; "
        f"an epoch: {tell(epoch)}"
    )
    figures = {"run_s": run._asdict(), "epoch_s": epoch._asdict(), **work._asdict()}
    if run.median > LONG_S:
        return warning(
            told, "a faster device (trainer.device), a smaller backbone, fewer trainer.epochs", **figures
        )
    return ok(told, **figures)


def count_work(
    settings: TrainingSettings,
    inhibition: Inhibition | None,
    loader: TrainingLoader,
    splits: Splits,
    *,
    done: int,
) -> Work:
    """All that comes after the step `done`, as `train` does it, and the evaluation at the end.

    Checkpoints by the clock are left out: one in ten minutes takes no time that would show.
    """
    per_epoch = loader.steps_per_epoch
    last = min(settings.epochs * per_epoch, settings.max_steps or sys.maxsize)
    steps = range(done + 1, last + 1)
    ends = {
        min(epoch * per_epoch, last)
        for epoch in range(done // per_epoch + 1, math.ceil(last / per_epoch) + 1)
    }
    every = settings.checkpoint_every_steps
    checkpoints = ends | (
        set() if every is None else set(range(done - done % every + every, last + 1, every))
    )
    evaluations = sum(end == last or end // per_epoch % settings.evaluate_every_epochs == 0 for end in ends)
    return Work(
        batches=len(steps) * whole_batches(loader) / per_epoch,
        steps=len(steps),
        inhibited_steps=0 if inhibition is None else sum(map(inhibition.is_due, steps)),
        evaluated_images=evaluations * held_out(splits) + len(splits.test.labels),
        checkpoints=len(checkpoints),
    )


def epoch_work(inhibition: Inhibition | None, loader: TrainingLoader, splits: Splits) -> Work:
    """An epoch past tenet.start_step, with its evaluation and checkpoint."""
    steps = loader.steps_per_epoch
    inhibited_steps = 0 if inhibition is None else steps // inhibition.interval
    return Work(whole_batches(loader), steps, inhibited_steps, held_out(splits), checkpoints=1)


def whole_batches(loader: TrainingLoader) -> float:
    """In an epoch."""
    return max(1.0, loader.samples_per_epoch / loader.batch_size)


def held_out(splits: Splits) -> int:
    """Images that are evaluated between epochs."""
    return len((splits.validation or splits.test).labels)


def forecast(times: Times, work: Work) -> Spread:
    """The expected time, and the range if all steps were as fast as the fastest, as slow as the slowest.

    Inhibited steps are of whole batches, as when every image is right: where fewer are, they take less.
    """

    def at(bound: int) -> float:
        return (
            work.batches * times.plain[bound]
            + work.inhibited_steps * times.inhibited[bound]
            + work.evaluated_images * times.evaluated_image[bound]
            + work.checkpoints * times.checkpoint[bound]
        )

    return Spread(at(0), at(1), at(2))


def tell(spread: Spread) -> str:
    """Such as `12 ms (11 to 14)`, `2:05:10 (1:58:00 to 2:20:31)` or `3.1 days (2.9 to 3.4)`."""
    if spread.median >= 2 * DAY_S:
        texts = [f"{seconds / DAY_S:.1f}" for seconds in spread]
        unit = " days"
    elif spread.median >= 100:
        texts, unit = [format_duration(seconds) for seconds in spread], ""
    else:
        factor, unit = (1.0, " s") if spread.median >= 1 else (1000.0, " ms")
        texts = [f"{factor * seconds:.{0 if factor * spread.median >= 10 else 1}f}" for seconds in spread]
    return f"{texts[0]}{unit} ({texts[1]} to {texts[2]})"
