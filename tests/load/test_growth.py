"""The memory, objects and open files of a run do not grow after its warm-up."""

import gc
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from tenet.launching.job import Job, Outcome
from tenet.launching.multirun import Multirun
from tests.faults.commands import Command, write_data
from tests.load.jobs import JOB
from tests.load.steps import IMAGES, SMALL, STEPS_PER_EPOCH
from tests.load.watching import Mark, at_marks, growth, last_step, watch
from tests.training.test_loop import run

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="processes are observed through /proc"
)

STEPS, EPOCHS = 400, 5
# If steps get longer, their time grows many times over; other work on the machine has a smaller effect.
CPU_RATIO = 1.75


def alive() -> Counter[str]:
    """Count the objects of this process by type, except Counters such as this one."""
    gc.collect()
    objects = Counter(type(one).__name__ for one in gc.get_objects())
    del objects["Counter"]
    return objects


@pytest.mark.alone
def test_a_command_of_400_steps_does_not_grow(tmp_path: Path) -> None:
    write_data(tmp_path, count=IMAGES)
    command = Command("train", *SMALL, f"trainer.epochs={STEPS // STEPS_PER_EPOCH}", cwd=tmp_path)
    samples = watch(command.pid, done=lambda: last_step(tmp_path / "run" / "metrics.jsonl"), until=STEPS)
    ended = command.wait()
    assert ended.code == 0, ended.output
    marks = at_marks(samples, until=STEPS)
    assert growth(marks, cpu_ratio=CPU_RATIO) == []


@pytest.mark.slow
def test_no_objects_or_open_files_accumulate_over_epochs(tmp_path: Path) -> None:
    objects: list[Counter[str]] = []
    open_files: list[int] = []

    def evaluate() -> dict[str, float]:
        objects.append(alive())
        open_files.append(len(list(Path("/proc/self/fd").iterdir())))
        return {"test/error_pct": 50.0}

    run(tmp_path, evaluate=evaluate, epochs=EPOCHS, checkpoint_every_steps=4)
    # Compare with the second epoch: the optimizer's state is created in the first.
    assert objects[1]["Tensor"] > 0
    assert [kind for kind, more in (objects[-1] - objects[1]).items() if more >= EPOCHS - 2] == []
    assert len(set(open_files[1:])) == 1


class CountedAfterEachJob:
    """Makes a multirun write, after each job, the number of living objects of each type in its process."""

    def set_up(self) -> None:
        end = Multirun.end

        def counted(multirun: Multirun, job: Job, outcome: Outcome) -> None:
            end(multirun, job, outcome)
            Path(f"alive-{job.number}.json").write_text(json.dumps(alive()))

        Multirun.end = counted  # type: ignore[method-assign]


@pytest.mark.alone
def test_a_job_of_a_multirun_leaves_only_its_result_in_memory(tmp_path: Path) -> None:
    write_data(tmp_path, count=IMAGES)
    ended = Command("train", "-m", *JOB, "seed=range(6)", cwd=tmp_path, fault=CountedAfterEachJob()).wait()
    assert ended.code == 0, ended.output
    alive_after = [Counter(json.loads((tmp_path / f"alive-{job}.json").read_text())) for job in range(2, 6)]
    assert alive_after[0]["function"] > 0, "nothing was counted"
    # The objects that every job leaves; after a single job some may not have been freed yet.
    left = [after - before for before, after in pairwise(alive_after)]
    leaked = {kind: min(more[kind] for more in left) for kind in set.intersection(*map(set, left))}
    assert "Tensor" not in leaked
    assert sum(leaked.values()) < 10


STEADY = [Mark(done, 500.0, 40.0, 10, 4, 15.0, 20.0) for done in (10, 25, 50, 75, 100)]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        ({"memory_mb": 509.0, "wall_ms": 90.0, "cpu_ms": 18.0}, []),
        ({"memory_mb": 511.0}, ["memory, MB: from 500 to 511"]),
        ({"children_mb": 51.0}, ["W&B's memory, MB: from 40 to 51"]),
        ({"open_files": 11}, ["open files: from 10 to 11"]),
        ({"threads": 5}, ["threads: from 4 to 5"]),
        ({"cpu_ms": 20.0}, ["CPU, ms: from 15 to 20"]),
    ],
)
def test_growth_is_reported(change: dict[str, float], found: list[str]) -> None:
    assert growth([*STEADY[:-1], STEADY[-1]._replace(**change)]) == found
