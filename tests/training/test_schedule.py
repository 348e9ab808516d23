"""Schedules are pure functions from step to factor of the learning rate."""

import pytest

from tenet.training.schedule import Constant, Cosine, Schedule
from tenet.training.settings import TrainingSettings


def test_cosine_starts_at_the_whole_learning_rate() -> None:
    assert Cosine()(0, 1000) == 1.0


@pytest.mark.parametrize("final_factor", [0.0, 1e-5, 0.1, 1.0])
def test_cosine_ends_at_its_final_factor(final_factor: float) -> None:
    assert Cosine(final_factor=final_factor)(1000, 1000) == pytest.approx(final_factor, abs=1e-12)


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
    assert 0.1 * Cosine(final_factor=1e-5)(step, 78_200) == pytest.approx(learning_rate, abs=1e-15)


def test_cosine_never_rises_and_stays_at_its_end() -> None:
    factors = [Cosine()(step, 200) for step in range(600)]
    assert factors == sorted(factors, reverse=True)
    assert set(factors[200:]) == {factors[200]}


def test_the_schedule_has_a_length_of_its_own() -> None:
    assert TrainingSettings(epochs=4).count_steps(10) == (40, 40)
    assert TrainingSettings(epochs=4, schedule_epochs=2).count_steps(10) == (20, 40)
    assert TrainingSettings(epochs=2, schedule_epochs=4, max_steps=7).count_steps(10) == (40, 7)


@pytest.mark.parametrize("schedule", [Cosine(warmup_steps=4), Constant(warmup_steps=4)])
def test_warm_up_rises_linearly_and_is_over_after_its_steps(schedule: Schedule) -> None:
    assert [schedule(step, 100) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_cosine_spans_the_steps_that_the_warm_up_leaves() -> None:
    schedule = Cosine(final_factor=0.0, warmup_steps=20)
    assert schedule(60, 100) == pytest.approx(0.5, abs=1e-12)
    assert schedule(100, 100) == pytest.approx(0.0, abs=1e-12)


def test_cosine_is_defined_for_a_run_that_ends_in_its_warm_up() -> None:
    assert [Cosine(warmup_steps=10)(step, 3) for step in range(3)] == pytest.approx([0.1, 0.2, 0.3])
    assert Cosine(warmup_steps=3)(3, 3) == 1.0


def test_constant_keeps_the_learning_rate() -> None:
    assert {Constant()(step, 100) for step in (0, 1, 50, 100)} == {1.0}
