"""Memory and time: what is foretold, beside what is measured."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tenet.data import TrainingLoader
from tenet.doctor import duration, memory, steps
from tenet.doctor.plan import Plan
from tenet.doctor.rehearsal import Rehearsal
from tenet.training.books import NullTracker
from tenet.training.checkpoint import Checkpoints
from tenet.training.loop import TrainingResult, train
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
        assert max(counted.during(lambda: torch.zeros(100))) == 400


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("optimizer=adamw", "trainer.on_nonfinite=skip"),
        # Large in weights and small in activations: of few images, the optimizer's step takes most.
        ("backbone=resnet50", "backbone.blocks=[1,1,1,1]"),
    ],
)
def test_the_memory_of_any_batch_follows_from_two_small_ones(
    overrides: tuple[str, ...], tmp_path: Path
) -> None:
    plan = plan_in(tmp_path, *overrides)
    demands = memory.measure_demands(plan)
    with memory.LiveBytes() as counted:
        rehearsal = Rehearsal(plan)
        images, labels = torch.randn(48, 3, 32, 32), torch.arange(48) % 10
        for name, step in rehearsal.steps().items():
            step(images, labels)
            peak = max(counted.during(lambda: step(images, labels)))  # noqa: B023
            assert demands[name].at(48) == pytest.approx(peak, rel=0.02)
            assert demands[name].images_within(float(peak)) in (47, 48, 49)


def test_each_operation_has_its_own_line_and_the_highest_counts() -> None:
    # 100 whatever the batch, and 10 by image.
    demand = memory.Demand([[100, 20], [100, 40]])
    assert (demand.at(4), demand.at(20)) == (100, 200)
    assert (demand.images_within(200.0), demand.images_within(99.0)) == (20, 0)
    # Operations that can't be told apart: the peaks.
    assert memory.Demand([[100, 20, 3], [40, 120]]).at(6) == 140


MEASURE = """
import re, sys
import torch
from pathlib import Path
from tests.doctor.plans import plan_in
from tenet.doctor.memory import measure_demands
from tenet.doctor.rehearsal import Rehearsal
plan = plan_in(Path(sys.argv[1]), "backbone.width=16", "trainer.channels_last=false")
demand = measure_demands(plan)["inhibited step"]
rehearsal = Rehearsal(plan)
def resident(which):
    return 1024 * int(re.search(which + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
def take(batch):
    images, labels = torch.randn(batch, 3, 32, 32), torch.arange(batch) % 10
    rehearsal.plain(images, labels)
    rehearsal.inhibited(images, labels)
take(2)
Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
before = resident("VmRSS")
take(128)
print((resident("VmHWM") - before) / demand.at(128))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_the_memory_foretold_is_what_the_process_takes(tmp_path: Path) -> None:
    # The allocator gives everything back at once: what it holds on to besides is in ALLOCATOR_FACTORS.
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


def test_what_does_not_fit_is_a_problem_with_a_batch_that_does_and_is_never_allocated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(tmp_path, "trainer.batch_size=1000000000")
    monkeypatch.setattr(memory, "free_device_memory", lambda plan: 400_000_000)
    *_, found = memory.check(plan)
    assert found.status == "problem"
    assert found.remedy is not None
    key, _, batch = found.remedy.partition("=")
    assert (key, plan.limits) == ("trainer.batch_size", (int(batch), plan.limits[1] if plan.limits else 0))
    fitting = plan_in(tmp_path, f"trainer.batch_size={batch}")
    assert set(statuses(list(memory.check(fitting)))) == {"ok"}
    monkeypatch.setattr(memory, "free_device_memory", lambda plan: 1_000_000)
    assert list(memory.check(plan))[-1].remedy == "a smaller backbone"


def test_an_evaluation_that_does_not_fit_names_its_own_key(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    demand = memory.Demand([[1000 * images] for images in memory.BATCHES])
    needs = [
        memory.Need("plain step", "trainer.batch_size", 10, demand),
        memory.Need("evaluation", "trainer.evaluation_batch_size", 100, demand),
    ]
    found = memory.judge(needs, plan, images=1000, free=81_000)
    assert (found.status, found.remedy) == ("problem", "trainer.evaluation_batch_size=40")
    assert plan.limits == (40, 40)
    assert memory.judge(needs, plan, images=1000, free=102_000).status == "warning"


class Counting(Checkpoints):
    saved = 0

    def save(self, state: object) -> None:
        self.saved += 1


def loader_of(plan: Plan) -> TrainingLoader:
    return TrainingLoader(
        plan.splits.train,
        augmentation=plan.build("augment"),
        normalization=plan.build("dataset").normalization,
        batch_size=plan.build("trainer").batch_size,
        seed=0,
    )


def run(plan: Plan, *, checkpoints: Checkpoints) -> tuple[TrainingResult, int]:
    """A real training of the plan, and how many images it evaluated."""
    rehearsal = Rehearsal(plan)
    for group in rehearsal.optimizer.param_groups:
        group["lr"] = 0.05
    evaluated = [0]
    part = plan.splits.validation or plan.splits.test

    def evaluate() -> dict[str, float]:
        evaluated[0] += len(part.labels)
        return {"test/error_pct": rehearsal.classifier.error_pct(*part)}

    result = train(
        rehearsal.model,
        loader=loader_of(plan),
        inhibition=rehearsal.inhibition,
        optimizer=rehearsal.optimizer,
        schedule=plan.build("schedule"),
        settings=rehearsal.settings,
        evaluate=evaluate,
        tracker=NullTracker(),
        checkpoints=checkpoints,
        seed=0,
    )
    return result, evaluated[0]


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("trainer.max_steps=13", "trainer.evaluate_every_epochs=2", "trainer.checkpoint_every_steps=4"),
        ("dataset.validation_fraction=0.5", "trainer.checkpoint_every_steps=3", "tenet.interval=2"),
        ("tenet=none",),
    ],
)
def test_the_work_is_counted_as_the_training_does_it(overrides: tuple[str, ...], tmp_path: Path) -> None:
    plan = plan_in(tmp_path, *overrides)
    checkpoints = Counting(tmp_path)
    result, evaluated = run(plan, checkpoints=checkpoints)
    work = duration.count_work(
        plan.build("trainer"), plan.build("tenet"), loader_of(plan), plan.splits, done=0
    )
    assert work.steps == result.steps
    assert work.inhibited_steps == result.inhibited_steps + result.skipped_steps
    assert work.checkpoints == checkpoints.saved
    # train.py evaluates the test set once more, at the end.
    assert work.evaluated_images == evaluated + len(plan.splits.test.labels)
    rest = duration.count_work(
        plan.build("trainer"), plan.build("tenet"), loader_of(plan), plan.splits, done=9
    )
    assert rest.steps == work.steps - 9
    assert rest.checkpoints < work.checkpoints


def test_the_time_of_a_run_is_that_of_all_its_parts() -> None:
    times = steps.Times(
        plain=steps.Spread(1.0, 0.5, 2.0),
        inhibited=steps.Spread(1.5, 1.0, 3.0),
        evaluated_image=steps.Spread(0.01, 0.01, 0.02),
        checkpoint=steps.Spread(0.1, 0.0, 0.2),
        timed_batch=4,
    )
    work = duration.Work(batches=9.5, steps=10, inhibited_steps=3, evaluated_images=100, checkpoints=2)
    assert duration.forecast(times, work) == pytest.approx(
        (9.5 + 4.5 + 1 + 0.2, 4.75 + 3 + 1, 19 + 9 + 2 + 0.4)
    )


def test_the_time_foretold_is_what_a_run_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The processor's time, since others may be at work on the machine.
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    plan = plan_in(
        tmp_path, "dataset.fraction=0.5", "trainer.batch_size=64", "trainer.max_steps=18", "--steps", "3"
    )
    plan.limits = (64, 360)
    loader = loader_of(plan)
    times = steps.measure(plan, loader, limits=plan.limits)
    work = duration.count_work(plan.build("trainer"), plan.build("tenet"), loader, plan.splits, done=0)
    begin = time.process_time()
    result, _ = run(plan, checkpoints=Checkpoints(tmp_path))
    took = time.process_time() - begin
    assert result.inhibited_steps >= 4
    assert 0.5 < duration.forecast(times, work).median / took < 2


def test_large_batches_are_timed_in_part_and_scaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "EVALUATION_BUDGET_S", 0.01)
    plan = plan_in(tmp_path, "trainer.batch_size=64", "--steps", "1")
    whole = steps.measure(plan, loader_of(plan), limits=(64, 100))
    assert whole.timed_batch == 64
    monkeypatch.setattr(steps, "BUDGET_S", 0.0)
    part = steps.measure(plan, loader_of(plan), limits=(64, 100))
    assert part.timed_batch == steps.SMALLEST_BATCH
    assert part.plain.median > whole.plain.median  # small batches cost more for each image
    assert steps.measure(plan, loader_of(plan), limits=(2, 2)).timed_batch == 2


def test_a_run_that_is_never_inhibited_and_one_that_is_too_long_are_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(tmp_path, "--steps", "1", "tenet.start_step=28")
    plan.limits = (32, 10)
    assert next(iter(duration.check(plan))).what == "tenet.start_step=28: of the 27 steps none is inhibited"
    plan = plan_in(tmp_path, "--steps", "1", "tenet=none", "--price-per-hour", "3")
    plan.limits = (32, 10)
    monkeypatch.setattr(duration, "LONG_S", 0.01)
    timed, run, cost = duration.check(plan)
    assert (timed.status, run.status, cost.status) == ("ok", "warning", "ok")
    assert "inhibited" not in timed.what + run.what
    assert cost.figures["cost"]["median"] == pytest.approx(run.figures["run_s"]["median"] / 1200)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0123, "12 ms (6 to 25)"),
        (0.0042, "4.2 ms (2.1 to 8.4)"),
        (42.0, "42 s (21 to 84)"),
        (4000.0, "1:06:40 (0:33:20 to 2:13:20)"),
        (864_000.0, "10.0 days (5.0 to 20.0)"),
    ],
)
def test_spreads_are_told_in_a_fitting_unit(seconds: float, told: str) -> None:
    assert duration.tell(steps.Spread(seconds, seconds / 2, 2 * seconds)) == told
