"""Long metrics files: a comparison of a million lines, and a W&B run that receives a long history at once."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenet.tracking import WandbTracking
from tenet.tracking.wandb_run import QUEUE_LIMIT
from tests.compare.folders import write_run
from tests.security.commands import run
from tests.tracking.wandb_offline import read_wandb_file, wandb_files

LINES = 1_000_000
WITHIN_S, MEMORY_MB = 60, 100
# A line as train.py writes it; a million of them are 370 MB.
LINE = (
    '{"step": %d, "epoch": %r, "train/loss": 1.0, "train/error_pct": 2.5, "train/gradient_norm": 0.607737803459167, '
    '"train/loss_inhibited": 0.22655093669891357, "train/loss_orthogonality": 2.9262466430664062, '
    '"train/learning_rate": 1.0616843979736942e-06, "train/inhibited_steps": 663, "train/skipped_steps": 0, '
    '"speed/images_per_s": 586.5272577347916}\n'
)


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run of two epochs with half a million lines each; its last loss is 4."""
    folder = write_run(tmp_path_factory.mktemp("long") / "run", seed=0, test=3.25, mce=None)
    file = folder / "metrics.jsonl"
    last = {"step": LINES, "epoch": 2.0, "train/loss": 4.0, "test/error_pct": 3.25}
    with file.open("w") as lines:
        lines.writelines(LINE % (step, 2 * step / LINES) for step in range(1, LINES))
        lines.write(json.dumps(last) + "\n")
    yield folder
    file.unlink()  # pytest keeps the folders of three runs


def test_a_run_of_a_million_lines_is_compared_in_seconds(long_run: Path) -> None:
    done = run("-m", "tenet.compare", "run", cwd=long_run.parent, timeout_s=WITHIN_S)
    assert done.code == 0, done.output
    assert "│ all runs │          3.25 │     1 │" in done.output
    assert "unfinished" not in done.output
    assert done.peak_mb < MEMORY_MB


@pytest.mark.slow
def test_the_page_draws_a_million_lines_up_to_the_last_value(long_run: Path) -> None:
    done = run("-m", "tenet.compare", "run", "--output", "page.html", cwd=long_run.parent, timeout_s=WITHIN_S)
    assert done.code == 0, done.output
    page = (long_run.parent / "page.html").read_text()
    assert ">3.25</span>" in page
    line, floor = (
        re.findall(rf'<path d="([^"]+)"[^>]*style="fill: none; stroke: {colour}', page)[-1]
        for colour in ("#0072b2", "currentColor")
    )
    curve, ((_, zero), _) = (
        [tuple(map(float, place)) for place in re.findall(r"[ML] (\S+) (\S+)", path)]
        for path in (line, floor)
    )
    # The loss is 1 up to the last step and 4 there: twice as high on an axis of square roots.
    heights = [zero - y for _, y in curve]
    assert heights[-1] == max(heights) == pytest.approx(2 * heights[0], rel=1e-3)
    assert curve[-1][0] == max(x for x, _ in curve)
    assert len(page) < 2**20
    assert done.peak_mb < MEMORY_MB


@pytest.mark.slow
def test_a_new_wandb_run_of_a_folder_receives_its_whole_long_history(tmp_path: Path) -> None:
    lines = QUEUE_LIMIT + 10
    (tmp_path / "metrics.jsonl").write_text("".join(LINE % (step, 1.0) for step in range(1, lines + 1)))
    WandbTracking(mode="offline").start(tmp_path, config={}, resume=True).finish()
    (file,) = wandb_files(tmp_path)
    assert [row["step"] for row in read_wandb_file(file).history] == list(range(1, lines + 1))
