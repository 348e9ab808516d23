"""Searches as a user starts them: processes with real trainings, killed and repeated."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

from tenet.config.command_line import plan
from tenet.errors import ConfigError
from tenet.files.json import read_json
from tenet.run.metrics_file import read_metrics
from tenet.search.command import check_space_runs, main
from tenet.search.loop import Search
from tenet.search.space import read_space
from tenet.search.study import Study
from tests.search.test_space import write

ROOT = Path(__file__).resolve().parents[2]
# 115 digits to train on, in batches of 64: 2 steps an epoch.
TINY = [
    "dataset=digits", "dataset.fraction=0.1", "dataset.validation_fraction=0.2", "backbone=resnet8", "backbone.width=4",
    "augment=none", "tracking=none", "tenet.start_step=0", "trainer.batch_size=64", "trainer.epochs=10",
]  # fmt: skip


GROUPS = {"tenet.groups": {"values": [2, 4]}}


class Start(Protocol):
    def __call__(self, space: Path, *arguments: str) -> "subprocess.Popen[str]": ...


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Start a search over a space, in its folder. Searches that still run at the end are stopped."""
    started = []

    def start_search(space: Path, *arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "sweeps" / "search.py"), str(space), *arguments],
            cwd=space.parent,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start_search
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        if not process.stdout.closed:  # a search whose output no test has read
            process.communicate(timeout=60)


def output_of(process: "subprocess.Popen[str]", *, code: int = 0) -> str:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == code, output
    return output


def wait_for(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.005)


def children(process: "subprocess.Popen[str]") -> list[int]:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(number) for number in listed.read_text().split()]


def runs(folder: Path) -> list[Path]:
    return [path.parent for path in (folder / "runs").glob("*/config.yaml")]


def evaluations(run: Path) -> list[float]:
    if not (run / "metrics.jsonl").exists():
        return []
    return [row["epoch"] for row in read_metrics(run / "metrics.jsonl") if "validation/error_pct" in row]


def study_of(path: Path, overrides: list[str], *, total: int) -> Study:
    """The study that a search in the folder of `path` uses."""
    space = read_space(path, overrides)
    storage = path.parent / "runs" / "search" / f"{space.name}.db"
    return Study(space, storage=storage, total=total, pruner="none", evaluations=30)


class Pruning(NamedTuple):
    search: "subprocess.Popen[str]"
    study: Study
    folder: Path


@pytest.fixture(scope="module", autouse=True)
def pruning(tmp_path_factory: pytest.TempPathFactory, start: Start) -> Pruning:
    """A search that runs during the other tests. Its only new trial is far worse than the earlier ones."""
    import optuna

    folder = tmp_path_factory.mktemp("pruning")
    path = write(folder, {"optimizer.lr": {"values": [1e-12, 1e-11]}})
    overrides = [*TINY, "trainer.epochs=30"]
    study = study_of(path, overrides, total=6)
    good = optuna.trial.create_trial(
        value=5.0,
        intermediate_values=dict.fromkeys(range(1, 31), 5.0),
        params={"optimizer.lr": 1e-12},
        distributions={"optimizer.lr": optuna.distributions.CategoricalDistribution((1e-12, 1e-11))},
    )
    for _ in range(5):
        study.study.add_trial(good)
    return Pruning(start(path, *overrides, "--trials", "6", "--pruner", "median"), study, folder)


@pytest.fixture(scope="module", autouse=True)
def failing(tmp_path_factory: pytest.TempPathFactory, start: Start) -> "subprocess.Popen[str]":
    """A search that runs during the other tests. Its one trial can't be trained."""
    path = write(tmp_path_factory.mktemp("failing"), {"tenet.groups": {"values": [700, 800]}}, method="grid")
    return start(path, *TINY, "--trials", "1")


@pytest.mark.alone
def test_no_trial_is_lost_or_repeated_when_searches_are_killed_stopped_and_repeated(
    tmp_path: Path, start: Start
) -> None:
    space = write(tmp_path, GROUPS, method="grid")
    # Two processes share the study.
    one, other = start(space, *TINY), start(space, *TINY)
    wait_for(lambda: len(runs(tmp_path)) == 2 and all(len(evaluations(run)) > 1 for run in runs(tmp_path)))
    # One of them is killed with its training, as if its machine had failed.
    (training,) = children(one)
    for number in (one.pid, training):
        os.kill(number, signal.SIGKILL)
    first = output_of(one, code=-signal.SIGKILL)
    left = re.findall(r"trial (\d) +started", first)[-1]
    # The other continues the abandoned trial, and is stopped in turn.
    wait_for(lambda: (log := next(tmp_path.glob(f"**/trial-{left}.log"))) and "continuing" in log.read_text())
    (training,) = children(other)
    other.send_signal(signal.SIGINT)
    second = output_of(other, code=130)
    assert f"interrupted; to continue: python sweeps/search.py {space} dataset=digits" in second
    assert not Path(f"/proc/{training}").exists()
    assert re.findall(r"trial (\d) +resumed", second) == [left]
    # The same command again.
    third = output_of(start(space, *TINY))
    assert re.findall(r"trial (\d) +resumed", third) == [left]
    started = re.findall(r"trial (\d) +started", first + second + third)
    assert sorted(started) == ["0", "1"]
    output = first + second + third
    assert sorted(re.findall(r"trial (\d) +complete", output)) == ["0", "1"]
    assert "The best of 2 trials: 2 complete" in third
    assert [evaluations(run) for run in runs(tmp_path)] == [list(range(1, 11))] * 2
    # The printed command and folder are those of the best run.
    values = {run: read_json(run / "summary.json")["validation/error_pct"] for run in runs(tmp_path)}
    (command,) = re.findall(r"^python train\.py (.*)$", third, re.MULTILINE)
    best, _ = plan(command.split(), config_dir=ROOT / "conf", config_name="train")
    assert values[tmp_path / best] == min(values.values())
    assert f"validation/error_pct {min(values.values()):.2f}, in {best}" in third
    for name in ("optimization_history", "slice"):
        (plot,) = (tmp_path / "runs" / "search").glob(f"space-*-{name}.png")
        assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_search_by_robustness_needs_the_corruptions_to_measure(tmp_path: Path) -> None:
    metric = {"name": "validation/corrupted_error_pct"}
    held_out = {"dataset.validation_fraction": {"value": 0.1}}
    path = write(tmp_path, {**held_out, **GROUPS}, metric=metric)
    with pytest.raises(
        ConfigError, match=r"metric.name=validation/corrupted_error_pct: set validation.corruptions"
    ):
        check_space_runs(read_space(path), config_dir=ROOT / "conf")
    path = write(
        tmp_path, {**held_out, **GROUPS, "validation.corruptions": {"value": "[extra]"}}, metric=metric
    )
    assert check_space_runs(read_space(path), config_dir=ROOT / "conf") == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parameters", "arguments", "message"),
    [
        ({"tenet.groups": {"values": [2, 0]}}, [], "FILE: tenet.groups=0: must be an integer of at least 1"),
        ({"tenet.weight": {"min": -1.0, "max": 1.0}}, [], "FILE: tenet.weight=-1.0: must be a number of at least 0"),
        ({"tenet": {"values": ["inhibition", "nothing"]}}, [], "FILE: tenet=nothing: no such option"),
        (GROUPS, ["tenet.intreval=3"], "there is no key tenet.intreval; did you mean tenet.interval"),
        (GROUPS, ["tenet.groups=3"], "FILE: nothing varies"),
        (GROUPS, ["seed=1,2"], "seed=1,2 is a sweep"),
        (GROUPS, ["rerun=true"], "rerun: a search continues its own runs"),
        (GROUPS, ["dataset.validation_fraction=0"], "dataset.validation_fraction=0: no validation set is held out"),
        (GROUPS, ["--workers", "0"], "--workers=0: must be at least 1"),
        (GROUPS, ["--trials", "0"], "--trials=0: must be at least 1"),
        (GROUPS, [], "--trials is missing: method random has no end"),
    ],
)  # fmt: skip
def test_a_wrong_search_is_refused_in_one_line_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    parameters: dict[str, object], arguments: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, {"dataset.validation_fraction": {"value": 0.1}, **parameters})
    assert main([str(path), *arguments], root=ROOT) == 2
    output = capsys.readouterr().err
    assert output.startswith(f"error: {message}".replace("FILE", str(path)))
    assert output.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_a_broken_storage_is_reported_in_one_line_with_the_command_to_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, GROUPS, method="grid")
    study = study_of(path, TINY, total=2)
    while held := study.next_trial():
        study.tell(held.trial, state="FAIL")
        held.log.close()
    # The file is overwritten after the search has opened the study.
    before = Search.run

    def broken(search: Search) -> None:
        search.study.storage.write_bytes(b"no database" * 10_000)
        before(search)

    monkeypatch.setattr(Search, "run", broken)
    assert main([str(path), *TINY], root=ROOT) == 1
    output = capsys.readouterr().err
    assert re.match(
        r"error: runs/search/space-\w+\.db: .*; to continue: python sweeps/search\.py ", output
    ), output
    assert output.count("\n") == 1


def test_without_optuna_the_search_names_the_package_to_install(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    missing.mkdir()
    (missing / "optuna.py").write_text("raise ModuleNotFoundError(name='optuna')")
    done = subprocess.run(
        [sys.executable, str(ROOT / "sweeps" / "search.py"), "space.yaml"], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{missing}:{ROOT}"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == "error: the search needs Optuna: pip install 'tenet-training[search]'\n"
    assert done.returncode == 2
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_bad_trial_is_pruned_and_its_training_interrupted(pruning: Pruning) -> None:
    text = output_of(pruning.search)
    (evaluation,) = re.findall(r"trial 5 +pruned .* at evaluation (\d+) of 30", text)
    assert 11 <= int(evaluation) < 30
    trial = pruning.study.trials[5]
    assert trial.state.name == "PRUNED"
    assert trial.value > 50
    (run,) = runs(pruning.folder)
    assert (run / "checkpoint.pt").exists()
    assert not (run / "weights.safetensors").exists()
    assert "interrupted" in pruning.study.log_file(5).read_text()


def test_a_failed_trial_does_not_end_the_search_which_fails_if_all_trials_do(
    failing: "subprocess.Popen[str]",
) -> None:
    text = output_of(failing, code=1)
    assert re.search(r"failed    tenet.groups=([78]00)  error: tenet.groups=\1 exceeds the 8 channels", text)
    assert "error: no trial was completed (1 failed); logs in runs/search/space-" in text
