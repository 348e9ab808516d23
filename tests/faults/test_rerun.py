"""Which run a command continues, answers for or replaces: changed data, rerun=true, folders of others."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from tenet.training.checkpoint import Checkpoints
from tests.faults.commands import TINY, Command, Ended, assert_same_run, assert_told, step_of, train
from tests.faults.places import Fault

OLD = {
    "weights.safetensors": b"theirs",
    "summary.json": b"{}",
    "metrics.jsonl": b"[]",
    "notes/mine.txt": b"mine",
}


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def command(script: str, *arguments: str, cwd: Path) -> Ended:
    return Command(script, *arguments, cwd=cwd).wait(timeout=120)


def relabel(data: Path) -> None:
    arrays = dict(np.load(data))
    arrays["test_labels"] = (arrays["test_labels"] + 1) % 3
    np.savez(data, **arrays)


@pytest.mark.slow
def test_no_command_gives_the_figure_of_a_finished_run_for_changed_data(here: Path) -> None:
    assert train(cwd=here).code == 0
    content = (here / "data.npz").read_bytes()
    relabel(here / "data.npz")
    before = contents(here)
    changed = ("the data set has changed since", "test images or labels", "rerun=true")
    assert_told(train(cwd=here), *changed)
    ended = command("train", *TINY, "-m", "hydra.sweep.dir=.", "hydra.sweep.subdir=run", cwd=here)
    assert ended.code == 1
    assert "failed: the data set has changed since" in ended.output
    assert_told(command("train", "resume=run", cwd=here), *changed)
    assert_told(
        command("evaluate", "run=run", cwd=here),
        "the test images or labels have changed since run was trained",
    )
    kept = {name: before[name] for name in before if not name.endswith(".log")}
    assert kept.items() <= contents(here).items()
    (here / "data.npz").write_bytes(content)
    assert "has finished already" in train(cwd=here).output


@pytest.mark.slow
def test_a_run_that_began_with_rerun_continues_by_its_command_and_starts_again_once_it_has_finished(
    whole: Path, here: Path
) -> None:
    def others() -> int:
        return len(list(here.glob("run-before-*")))

    shutil.copytree(whole, here / "run")
    config = (here / "run" / "config.yaml").read_text()
    (here / "run" / "config.yaml").write_text(config.replace(str(whole.parent), str(here)))
    ended = train("rerun=true", cwd=here, fault=Fault("term", "inhibited"))
    assert ended.code == 75
    assert "start the same command again to continue" in ended.output
    assert others() == 1
    stopped = step_of(here / "run")
    assert 0 < stopped < 12
    ended = train("rerun=true", cwd=here)
    assert ended.code == 0, ended.output
    assert "continuing" in ended.output
    assert others() == 1
    assert_same_run(here / "run", whole)
    assert train("rerun=true", cwd=here, fault=Fault("term", "inhibited")).code == 75
    assert others() == 2
    # Of other data it would be another run.
    relabel(here / "data.npz")
    assert train("rerun=true", "trainer.max_steps=1", cwd=here).code == 0
    assert others() == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "more"),
    [
        ((), {}),
        (("rerun=true",), {}),
        (("rerun=true",), {"config.yaml": b"model: resnet\nseed: 1\n"}),
        (("rerun=true",), {"config.yaml": b"- ["}),
    ],
)
def test_a_folder_of_others_is_refused_and_stays_as_it_is(
    here: Path, words: tuple[str, ...], more: dict[str, bytes]
) -> None:
    for name, content in {**OLD, **more}.items():
        path = here / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    before = contents(here)
    ended = train(*words, cwd=here)
    assert_told(ended, "config.yaml" if more else "metrics.jsonl, notes, summary.json, weights.safetensors")
    assert contents(here) == before


def test_the_folder_of_another_project_is_no_run_folder(here: Path) -> None:
    before = contents(here)
    for words in ((), ("rerun=true",)):
        assert_told(train("hydra.run.dir=.", *words, cwd=here), "holds files that no run wrote (data.npz)")
    assert contents(here) == before


@pytest.mark.slow
@pytest.mark.parametrize("target", ["missing", "data.npz"])
@pytest.mark.parametrize("name", [".lock", "train.log", "checkpoint.pt"])
def test_a_new_run_writes_nothing_through_a_link(here: Path, name: str, target: str) -> None:
    (here / "run").mkdir()
    (here / "run" / name).symlink_to(here / target)
    before = contents(here)
    assert_told(train(cwd=here), name)
    assert contents(here) == before


@pytest.mark.slow
def test_a_checkpoint_is_continued_only_by_the_run_that_wrote_it(here: Path) -> None:
    config = here / "run" / "config.yaml"
    assert train(cwd=here, fault=Fault("term", "inhibited")).code == 75
    own = config.read_text()
    before = Checkpoints(here / "run").load()
    assert before is not None
    config.unlink()
    for words in (("seed=1",), ()):
        assert_told(train(*words, cwd=here), "checkpoint.pt", "no config.yaml")
    for key, group, name, value in (
        ("trainer.schedule_epochs", "trainer", "epochs", 9),
        ("optimizer.lr", "optimizer", "lr", 0.01),
    ):
        changed = yaml.safe_load(own)
        changed[group][name] = value
        config.write_text(yaml.safe_dump(changed))
        assert_told(command("train", "resume=run", cwd=here), f"is of another run ({key} is", "rerun=true")
    assert_told(train("optimizer.lr=0.01", cwd=here), "is of another run (optimizer.lr is", "not 0.01")
    config.write_text(own)
    assert step_of(here / "run") == before["step"]
    assert train(cwd=here).code == 0
