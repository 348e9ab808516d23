"""Estimates of memory and time, compared with measurements."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tenet.doctor import duration, memory
from tenet.doctor.findings import Plan
from tenet.doctor.rehearsal import Rehearsal
from tenet.experiment.held_out import HeldOut
from tenet.training.books import NullTracker
from tenet.training.checkpoint import Checkpoints
from tenet.training.state import TrainingState
from tests.doctor.plans import plan_in, statuses


def test_live_bytes_counts_tensors_until_they_die_and_views_once() -> None:
    with memory.LiveBytes() as counted:
        first = torch.zeros(1000)
        view = first[10:]
        second = torch.ones(500, dtype=torch.float64)
        del first
        assert counted.live == 8000
        del view, second
        assert counted.live == 0
        ((_, history),) = counted.watch(map(torch.zeros, [100]))
        assert max(history) == 400


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("optimizer=adamw", "trainer.on_nonfinite=skip"),
        # Large in weights and small in activations: of few images, the optimizer's step takes most.
        ("backbone=resnet50", "backbone.blocks=[1,1,1,1]"),
    ],
)
def test_the_memory_of_any_batch_follows_from_two_small_ones(
    overrides: tuple[str, ...], tmp_path: Path
) -> None:
    plan = plan_in(tmp_path, *overrides)
    phases = memory.measure_phases(plan)
    with memory.LiveBytes() as counted:
        rehearsal = Rehearsal(plan.experiment)
        for _ in range(2):  # the first step creates the optimizer's state
            steps_taken = rehearsal.steps(rehearsal.random_batch(48))
            peaks = [max(history) for _, history in counted.watch(steps_taken)]
    for name, peak in zip(("plain step", "inhibited step"), peaks, strict=True):
        assert phases[name].at(48) == pytest.approx(peak, rel=0.02)
        assert phases[name].max_images(float(peak)) in (47, 48, 49)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "passes"),
    [(("attack=free", "attack.replays=3"), 3), (("attack=pgd", "attack.radius=1.0", "attack.steps=1"), 2)],
)
def test_all_that_an_attack_adds_to_an_iteration_is_counted(
    overrides: tuple[str, ...], passes: int, tmp_path: Path
) -> None:
    plan = plan_in(tmp_path, *overrides, "--steps", "2")
    both = {"plain step", "inhibited step"}  # however many predictions the attack leaves right
    seconds = duration.time_steps(Rehearsal(plan.experiment), 4, steps=2)
    assert {name: len(taken) for name, taken in seconds.items()} == dict.fromkeys(both, 2)
    assert memory.measure_phases(plan).keys() == {*both, "evaluation"}
    plan.max_batches = (32, 10)
    assert next(iter(duration.check(plan))).what.startswith(f"plain step of {passes} forward passes ")


def test_each_operation_has_its_own_line_and_the_highest_counts() -> None:
    # 100 for any batch, and 10 for each image.
    peak = memory.PeakMemory([[100, 20], [100, 40]])
    assert (peak.at(4), peak.at(20)) == (100, 200)
    assert (peak.max_images(200.0), peak.max_images(99.0)) == (20, 0)
    # Different operations: only their peaks are compared.
    assert memory.PeakMemory([[100, 20, 3], [40, 120]]).at(6) == 140


MEASURE = """
import re, sys
import torch
from pathlib import Path
from tests.doctor.plans import plan_in
from tenet.doctor.memory import measure_phases
from tenet.doctor.rehearsal import Rehearsal
plan = plan_in(Path(sys.argv[1]), "backbone.width=16", "trainer.channels_last=false")
inhibited = measure_phases(plan)["inhibited step"]
rehearsal = Rehearsal(plan.experiment)
def resident(which):
    return 1024 * int(re.search(which + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
def take(batch):
    assert len(list(rehearsal.steps(rehearsal.random_batch(batch)))) == 2
take(2)
Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
before = resident("VmRSS")
take(128)
print((resident("VmHWM") - before) / inhibited.at(128))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_the_estimated_memory_is_what_the_process_takes(tmp_path: Path) -> None:
    # The allocator returns freed memory at once; what it usually keeps is in ALLOCATOR_FACTORS.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert 0.9 < float(done.stdout) < 1.1


@pytest.mark.slow
def test_what_does_not_fit_is_a_problem_with_a_batch_that_does_and_is_never_allocated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(tmp_path, "trainer.batch_size=1000000000")
    monkeypatch.setattr(memory, "free_device_memory", lambda device: 400_000_000)
    *_, found = memory.check(plan)
    assert found.status == "problem"
    assert found.remedy is not None
    key, _, batch = found.remedy.partition("=")
    assert key == "trainer.batch_size"
    assert plan.max_batches is not None
    assert plan.max_batches[0] == int(batch)
    fitting = plan_in(tmp_path, f"trainer.batch_size={batch}")
    assert set(statuses(list(memory.check(fitting)))) == {"ok"}
    monkeypatch.setattr(memory, "free_device_memory", lambda device: 1_000_000)
    assert list(memory.check(plan))[-1].remedy == "a smaller backbone"


def test_an_evaluation_that_does_not_fit_names_its_own_key(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    peak = memory.PeakMemory([[1000 * images] for images in memory.BATCHES])
    phases, batches = {"plain step": peak, "evaluation": peak}, {"plain step": 10, "evaluation": 100}
    found = memory.compare_with_free(phases, batches, plan, images=1000, free=81_000)
    assert (found.status, found.remedy) == ("problem", "trainer.evaluation_batch_size=40")
    assert plan.max_batches == (40, 40)
    assert memory.compare_with_free(phases, batches, plan, images=1000, free=102_000).status == "warning"


class Counting(Checkpoints):
    saved = 0

    def save(self, state: object) -> None:
        self.saved += 1


def train_run(plan: Plan, *, checkpoints: Checkpoints) -> TrainingState:
    """Train the plan as train.py does."""
    state = plan.experiment.restore(checkpoints)
    plan.experiment.train(state, checkpoints=checkpoints, tracker=NullTracker())
    return state


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("trainer.max_steps=13", "trainer.evaluate_every_epochs=2", "trainer.checkpoint_every_steps=4"),
        ("dataset.validation_fraction=0.5", "trainer.checkpoint_every_steps=3", "tenet.interval=2"),
        ("tenet=none",),
    ],
)
def test_the_work_is_counted_as_the_training_does_it(
    overrides: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(tmp_path, *overrides)
    checkpoints, evaluated = Counting(tmp_path), []

    def evaluate(self: HeldOut) -> dict[str, float]:
        evaluated.append(len(plan.experiment.splits.validation or plan.experiment.splits.test))
        return {"test/error_pct": 50.0}

    monkeypatch.setattr(HeldOut, "evaluate", evaluate)
    state = train_run(plan, checkpoints=checkpoints)
    work = duration.count_work(plan.experiment, done=0)
    assert work.steps == state.step
    assert work.inhibited_steps == sum(state.method.counters().values())
    assert work.checkpoints == checkpoints.saved
    # With validation images, train.py evaluates the test set too, at the end.
    splits = plan.experiment.splits
    assert work.evaluated_images == sum(evaluated) + (0 if splits.validation is None else len(splits.test))
    rest = duration.count_work(plan.experiment, done=9)
    assert rest.steps == work.steps - 9
    assert rest.checkpoints < work.checkpoints


def test_the_time_of_a_run_is_that_of_all_its_parts() -> None:
    times = duration.Times(
        plain_step=duration.Estimate(1.0, 0.5, 2.0),
        inhibited_step=duration.Estimate(1.5, 1.0, 3.0),
        evaluated_image=duration.Estimate(0.01, 0.01, 0.02),
        checkpoint=duration.Estimate(0.1, 0.0, 0.2),
    )
    work = duration.Work(batches=9.5, steps=10, inhibited_steps=3, evaluated_images=100, checkpoints=2)
    assert duration.forecast(times, work) == pytest.approx(
        (9.5 + 4.5 + 1 + 0.2, 4.75 + 3 + 1, 19 + 9 + 2 + 0.4)
    )


@pytest.mark.alone
def test_the_estimated_time_is_what_a_run_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The processor's time, because the machine may be busy with other work.
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    overrides = ("dataset.fraction=0.5", "trainer.batch_size=64", "trainer.max_steps=18", "--steps", "3")
    plan = plan_in(tmp_path, *overrides)
    times, _ = duration.measure(plan, max_batches=(64, 360))
    work = duration.count_work(plan.experiment, done=0)
    plan = plan_in(tmp_path, *overrides)
    assert plan.experiment.loader, "reading the data is not part of the estimate"
    begin = time.process_time()
    state = train_run(plan, checkpoints=Checkpoints(tmp_path))
    took = time.process_time() - begin
    assert state.method.counters()["inhibited_steps"] >= 4
    assert 0.5 < duration.forecast(times, work).median / took < 2


@pytest.mark.alone
def test_large_batches_are_timed_in_part_and_scaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duration, "EVALUATION_BUDGET_S", 0.01)
    plan = plan_in(tmp_path, "trainer.batch_size=64", "--steps", "1")
    whole, timed_batch = duration.measure(plan, max_batches=(64, 100))
    assert timed_batch == 64
    monkeypatch.setattr(duration, "BUDGET_S", 0.0)
    part, timed_batch = duration.measure(plan, max_batches=(64, 100))
    assert timed_batch == duration.SMALLEST_BATCH
    assert part.plain_step.median > whole.plain_step.median  # small batches cost more for each image
    assert duration.measure(plan, max_batches=(2, 2))[1] == 2


@pytest.mark.slow
def test_a_run_that_is_never_inhibited_and_one_that_is_too_long_are_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(tmp_path, "--steps", "1", "tenet.start_step=28")
    plan.max_batches = (32, 10)
    assert next(iter(duration.check(plan))).what == "tenet.start_step=28: none of the 27 steps is inhibited"
    plan = plan_in(tmp_path, "--steps", "1", "tenet=none", "--price-per-hour", "3")
    plan.max_batches = (32, 10)
    monkeypatch.setattr(duration, "LONG_S", 0.01)
    timed, run, cost = duration.check(plan)
    assert (timed.status, run.status, cost.status) == ("ok", "warning", "ok")
    assert "inhibited" not in timed.what + run.what
    assert cost.figures["cost"]["median"] == pytest.approx(run.figures["run_s"]["median"] / 1200)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123, "12 ms (6 to 25)"),
        (0.0042, "4.2 ms (2.1 to 8.4)"),
        (42.0, "42 s (21 to 84)"),
        (4000.0, "1:06:40 (0:33:20 to 2:13:20)"),
        (864_000.0, "10.0 days (5.0 to 20.0)"),
    ],
)
def test_times_are_shown_in_a_fitting_unit(seconds: float, text: str) -> None:
    assert duration.format_times(duration.Estimate(seconds, seconds / 2, 2 * seconds)) == text
