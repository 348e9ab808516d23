"""The evaluation within training: on how many images, how often, and how long it takes."""

import re
from pathlib import Path

import pytest

from tenet.run.metrics_file import read_metrics
from tenet.training.books import Bookkeeper, NullTracker
from tenet.training.checkpoint import Checkpoints
from tenet.training.settings import TrainingSettings
from tests.faults.commands import train, write_data
from tests.training.runs import run


def figures(run_dir: Path) -> dict[str, list[int]]:
    """Name of an error of held-out images -> the steps at which it was measured."""
    found: dict[str, list[int]] = {}
    for row in read_metrics(run_dir / "metrics.jsonl"):
        for name in row:
            if name.endswith("/error_pct") and not name.startswith("train/"):
                found.setdefault(name, []).append(row["step"])
    return found


def test_an_evaluation_may_be_of_a_subset_and_the_last_one_is_of_all_images(tmp_path: Path) -> None:
    write_data(tmp_path)
    ended = train("trainer.evaluate_images=4", cwd=tmp_path)
    assert ended.code == 0, ended.output
    assert figures(tmp_path / "run") == {"test_subset/error_pct": [4, 8], "test/error_pct": [12]}
    assert "test subset error" in ended.output
    assert "_subset" not in (tmp_path / "run" / "summary.json").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("every", "steps"), [(None, [18]), (2, [12, 18])])
def test_evaluations_may_be_left_out_and_the_last_one_is_done_once(tmp_path, every, steps):
    measured = []

    def evaluate():
        measured.append(len(measured))
        return {"test/error_pct": 50.0}

    run(tmp_path, evaluate=evaluate, evaluate_every_epochs=every)
    assert figures(tmp_path)["test/error_pct"] == steps
    assert len(measured) == len(steps)


def test_the_time_left_counts_the_evaluations_that_are_left(tmp_path):
    state = run(tmp_path, max_steps=6)
    state.metrics["speed/images_per_s"] = 10.0
    books = Bookkeeper(
        state, settings=TrainingSettings(epochs=4), tracker=NullTracker(), checkpoints=Checkpoints(tmp_path),
        evaluate=dict, learning_rate=float, steps_per_epoch=6, last_step=24, evaluated_images=(30, 60),
    )  # fmt: skip
    # Two evaluations of 30 images and the end of 60, at a third of the time of a training image.
    assert books.evaluations_left_s() == pytest.approx(4.0)
    books.seconds_per_image = 2.0
    assert books.evaluations_left_s() == 240
    state.closed_step = state.step = 24
    assert books.evaluations_left_s() == 0


def test_the_status_shows_the_figures_of_the_running_epoch_and_tells_the_epoch_of_an_earlier_evaluation(
    tmp_path, capsys
):
    run(tmp_path, epochs=4, log_every_steps=10, evaluate_every_epochs=2)  # 6 steps an epoch
    first, second, third, last = (line for line in capsys.readouterr().out.splitlines() if "epoch" in line)
    assert first.startswith("training  step 6/24  epoch 1/4  0:")
    assert re.search(r"epoch 2/4  loss [\d.]+  error [\d.]+ %  test error 50\.00 %  [\d,]+ images/s", second)
    assert "epoch 3/4  test error 50.00 % (epoch 2)  0:" in third
    assert re.search(r"epoch 4/4  loss [\d.]+  error [\d.]+ %  test error 50\.00 %  [\d,]+ images/s", last)
