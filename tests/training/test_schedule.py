"""Schedules are pure functions from step to factor of the learning rate, and to momentum."""

import pytest
import torch
from torch.optim import lr_scheduler

from tenet.training.schedule import Constant, Cosine, MultiStep, OneCycle, Schedule, Span, Step
from tenet.training.settings import TrainingSettings

SPAN = Span(100, 10)


def test_cosine_starts_at_the_whole_learning_rate() -> None:
    assert Cosine()(0, SPAN) == 1.0


@pytest.mark.parametrize("final_factor", [0.0, 1e-5, 0.1, 1.0])
def test_cosine_ends_at_its_final_factor(final_factor: float) -> None:
    assert Cosine(final_factor=final_factor)(100, SPAN) == pytest.approx(final_factor, abs=1e-12)


# 200 epochs of 391 iterations from 0.1 to 1e-6, at the quarters: the cosine is 1, sqrt(1/2), 0, -sqrt(1/2), -1.
@pytest.mark.parametrize(
    ("step", "learning_rate"),
    [
        (0, 0.1),
        (78_200 // 4, 1e-6 + 0.099999 * (1 + 2**-0.5) / 2),
        (39_100, 0.0500005),
        (78_200 * 3 // 4, 1e-6 + 0.099999 * (1 - 2**-0.5) / 2),
        (78_200, 1e-6),
    ],
)
def test_cosine_has_the_official_recipes_values(step: int, learning_rate: float) -> None:
    assert 0.1 * Cosine(final_factor=1e-5)(step, Span(78_200, 391)) == pytest.approx(learning_rate, abs=1e-15)


def test_cosine_never_rises_and_stays_at_its_end() -> None:
    factors = [Cosine()(step, Span(200, 10)) for step in range(600)]
    assert factors == sorted(factors, reverse=True)
    assert set(factors[200:]) == {factors[200]}


def test_the_schedule_has_a_length_of_its_own() -> None:
    assert TrainingSettings(epochs=4).count_steps(10) == (40, 40)
    assert TrainingSettings(epochs=4, schedule_epochs=2).count_steps(10) == (20, 40)
    assert TrainingSettings(epochs=2, schedule_epochs=4, max_steps=7).count_steps(10) == (40, 7)


@pytest.mark.parametrize("schedule", [Cosine(warmup_steps=4), Constant(warmup_steps=4)])
def test_warm_up_rises_linearly_and_is_over_after_its_steps(schedule: Schedule) -> None:
    assert [schedule(step, SPAN) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_cosine_spans_the_steps_that_the_warm_up_leaves() -> None:
    schedule = Cosine(final_factor=0.0, warmup_steps=20)
    assert schedule(60, SPAN) == pytest.approx(0.5, abs=1e-12)
    assert schedule(100, SPAN) == pytest.approx(0.0, abs=1e-12)


def test_cosine_is_defined_for_a_run_that_ends_in_its_warm_up() -> None:
    assert [Cosine(warmup_steps=10)(step, Span(3, 3)) for step in range(3)] == pytest.approx([0.1, 0.2, 0.3])
    assert Cosine(warmup_steps=3)(3, Span(3, 3)) == 1.0


def test_constant_keeps_the_learning_rate() -> None:
    assert {Constant()(step, SPAN) for step in (0, 1, 50, 100)} == {1.0}


def follow_torch(scheduler: lr_scheduler.LRScheduler, steps: int) -> list[tuple[float, float]]:
    """The learning rate and the momentum (or first beta) of each step of a run that calls the scheduler after each."""
    found = []
    for _ in range(steps):
        (group,) = scheduler.optimizer.param_groups
        found.append((group["lr"], group["betas"][0] if "betas" in group else group["momentum"]))
        scheduler.optimizer.step()
        if len(found) < steps:
            scheduler.step()
    return found


def optimizer_of(cls: type[torch.optim.Optimizer], **settings: float) -> torch.optim.Optimizer:
    return cls([torch.zeros(1, requires_grad=True)], lr=0.2, **settings)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("settings", [{}, {"pct_start": 0.25, "div_factor": 10.0, "final_div_factor": 100.0}])
@pytest.mark.parametrize("steps", [2, 7, 100])
def test_one_cycle_has_torchs_learning_rates_and_momenta(optimizer, settings, steps) -> None:
    torchs = lr_scheduler.OneCycleLR(optimizer_of(optimizer), max_lr=0.2, total_steps=steps, **settings)
    schedule, span = OneCycle(**settings), Span(steps, steps)
    ours = [(0.2 * schedule(step, span), schedule.momentum(step, span)) for step in range(steps)]
    for one, other in zip(ours, follow_torch(torchs, steps), strict=True):
        assert one == pytest.approx(other, rel=1e-9)


def test_one_cycle_stays_at_its_end_and_is_defined_for_every_share_of_the_way_up() -> None:
    schedule = OneCycle()
    assert schedule(99, SPAN) == schedule(250, SPAN) == pytest.approx(1 / 25 / 1e4)
    assert schedule.momentum(250, SPAN) == pytest.approx(0.95)
    assert OneCycle(cycle_momentum=False).momentum(5, SPAN) is None
    for pct_start in (0.0, 0.01, 0.5, 1.0):
        factors = [OneCycle(pct_start=pct_start)(step, SPAN) for step in range(120)]
        assert max(factors) <= 1
        assert min(factors) > 0


@pytest.mark.parametrize(
    ("schedule", "torchs"),
    [
        (MultiStep(milestones=[2, 5], gamma=0.2), lambda o: lr_scheduler.MultiStepLR(o, [20, 50], gamma=0.2)),
        (Step(every_epochs=3, gamma=0.5), lambda o: lr_scheduler.StepLR(o, 30, gamma=0.5)),
    ],
)
def test_steps_are_torchs_counted_in_epochs(schedule, torchs) -> None:
    expected = [rate for rate, _ in follow_torch(torchs(optimizer_of(torch.optim.SGD)), 100)]
    assert [0.2 * schedule(step, SPAN) for step in range(100)] == pytest.approx(expected, rel=1e-12)
    # A longer run keeps the last learning rate, also in epochs at which it would have fallen.
    assert {schedule(step, SPAN) for step in range(100, 400)} == {schedule(99, SPAN)}


@pytest.mark.parametrize("schedule", [Cosine, Constant, MultiStep])
def test_a_warm_up_may_be_given_in_epochs_and_only_once(schedule) -> None:
    needed = {"milestones": [5]} if schedule is MultiStep else {}
    by_epochs, by_steps = schedule(warmup_epochs=2.5, **needed), schedule(warmup_steps=25, **needed)
    assert [by_epochs(step, SPAN) for step in range(100)] == [by_steps(step, SPAN) for step in range(100)]
    assert by_epochs(0, SPAN) == 1 / 25
    with pytest.raises(
        ValueError, match=r"^warmup_steps=3 and warmup_epochs=1 are both given; set one of them to 0"
    ):
        schedule(warmup_steps=3, warmup_epochs=1.0, **needed)


def test_milestones_count_from_the_start_of_the_run_and_must_rise() -> None:
    schedule = MultiStep(milestones=[5], warmup_epochs=2.0)
    assert [schedule(step, SPAN) for step in (0, 19, 49, 50)] == pytest.approx([0.05, 1.0, 1.0, 0.1])
    with pytest.raises(ValueError, match=r"milestones=\[5, 3\] must rise"):
        MultiStep(milestones=[5, 3])
