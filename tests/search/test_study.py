"""Trials in an SQLite file: none is lost and none runs twice, even if processes are killed."""

import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tenet.data import Arrays
from tenet.errors import ConfigError
from tenet.run.origin import fingerprints, stamp
from tenet.search.report import counts, ranked, rounded
from tenet.search.space import SearchSpace, read_space
from tenet.search.study import PRUNERS, Study
from tests.faults.commands import write_data
from tests.search.test_space import write

CHOICES = {"a": {"values": [1, 2, 3]}, "b": {"values": ["x", "y"]}}
MIXED = {
    "lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0},
    "n": {"min": 1, "max": 9},
    "q": {"distribution": "q_uniform", "min": 0.5, "max": 2.0, "q": 0.5},
    "c": {"values": ["x", None, True]},
}


def space(folder: Path, parameters: dict[str, Any] = CHOICES, method: str = "grid") -> SearchSpace:
    return read_space(write(folder, parameters, method=method))


def study(folder: Path, total: int, pruner: str = "none", **kwargs: Any) -> Study:
    return Study(
        space(folder, **kwargs), storage=folder / "study.db", total=total, pruner=pruner, evaluations=6
    )


def test_two_processes_divide_a_grid_without_a_point_twice_or_missing(tmp_path: Path) -> None:
    both = [study(tmp_path, 6), study(tmp_path, 6)]
    held = [one.next_trial() for _ in range(3) for one in both]
    assert [one.next_trial() for one in both] == [None, None]
    found = [tuple(one.trial.params.values()) for one in held if one is not None]
    assert sorted(found) == [(a, b) for a in (1, 2, 3) for b in ("x", "y")]
    assert not both[0].is_done
    for index, one in enumerate(held):
        assert one is not None
        both[index % 2].tell(one.trial, state="COMPLETE", value=float(index))
        one.log.close()
    assert both[0].is_done
    assert both[1].next_trial() is None


def test_a_trial_is_continued_only_after_the_end_of_its_search_and_its_training(tmp_path: Path) -> None:
    first = study(tmp_path, 1).next_trial()
    assert first is not None
    first.trial.report(50.0, 1)
    # The training outlives the search that started it.
    training = subprocess.Popen(["sleep", "60"], stdout=first.log)
    first.log.close()
    other = study(tmp_path, 1)
    assert other.next_trial() is None
    training.kill()
    training.wait()
    again = other.next_trial()
    assert again is not None
    assert again.is_continued
    assert again.trial.number == first.trial.number
    assert again.trial.params == first.trial.params
    assert again.reported == 1
    again.log.close()


def test_a_trial_that_ends_while_another_process_looks_for_work_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = study(tmp_path, 1), study(tmp_path, 1)
    held = one.next_trial()
    assert held is not None
    lists = [other.trials]
    one.tell(held.trial, state="COMPLETE", value=1.0)
    held.log.close()
    # A stale list first, then the current one.
    now = property(lambda self: lists.pop() if lists else self.study.get_trials(deepcopy=False))
    monkeypatch.setattr(Study, "trials", now)
    assert other.next_trial() is None
    assert not lists


def test_a_trial_abandoned_without_parameters_gets_them(tmp_path: Path) -> None:
    whole = study(tmp_path, 3).next_trial()
    (tmp_path / "torn").mkdir()
    torn = study(tmp_path / "torn", 3)
    torn.study.ask()  # and the process is killed
    again = torn.next_trial()
    assert whole is not None
    assert again is not None
    assert again.is_continued
    assert again.trial.params == whole.trial.params
    for held in (whole, again):
        held.log.close()


def add(study: Study, value: float, **parameters: Any) -> None:
    """A completed trial, as from another process."""
    import optuna

    distributions: dict[str, Any] = {
        "lr": optuna.distributions.FloatDistribution(1e-4, 1.0, log=True),
        "n": optuna.distributions.IntDistribution(1, 9),
        "q": optuna.distributions.FloatDistribution(0.5, 2.0, step=0.5),
        "c": optuna.distributions.CategoricalDistribution(("x", None, True)),
        "a": optuna.distributions.CategoricalDistribution((1, 2, 3)),
        "b": optuna.distributions.CategoricalDistribution(("x", "y")),
    }
    chosen = {name: distributions[name] for name in parameters}
    study.study.add_trial(optuna.create_trial(value=value, params=parameters, distributions=chosen))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["random", "bayes"])
def test_the_same_history_gives_the_same_next_trials(tmp_path: Path, method: str) -> None:
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        one = study(tmp_path / name, 13, parameters=MIXED, method=method)
        for number in range(1, 11):  # TPE samples at random for the first ten
            add(one, 1 / number, lr=number / 10, n=number % 9 + 1, q=0.5, c="x")
        for number in range(10, 13):
            if name == "two":  # reopened for each trial, as after a crash
                one = study(tmp_path / name, 13, parameters=MIXED, method=method)
            held = one.next_trial()
            assert held is not None
            assert held.trial.number == number
            one.tell(held.trial, state="COMPLETE", value=held.trial.params["lr"])
            held.log.close()
        found.append([trial.params for trial in one.trials[10:]])
    assert found[0] == found[1]
    assert len({trial["lr"] for trial in found[0]}) == 3
    for trial in found[0]:
        assert 1e-4 <= trial["lr"] <= 1
        assert trial["n"] in range(1, 10)
        assert trial["q"] in (0.5, 1.0, 1.5, 2.0)
        assert trial["c"] in ("x", None, True)


@pytest.mark.slow
@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_bad_trial_is_pruned_early_and_a_good_one_never(tmp_path: Path, pruner: str) -> None:
    one = study(tmp_path, 100, pruner=pruner, method="random")

    def pruned_at(value: float, *, spared: bool = False) -> int | None:
        held = one.next_trial()
        assert held is not None
        for step in (1, 2, 3):
            held.trial.report(value, step)
            if held.trial.should_prune() and not spared:
                break
        else:
            step = None
        one.tell(held.trial, state="COMPLETE" if step is None else "PRUNED", value=None if step else value)
        held.log.close()
        return step

    for number in range(5):
        pruned_at(10.0 + number, spared=True)
    # Of six evaluations, the median pruner ignores the first third; Hyperband's brackets start at 1 or 3.
    assert {pruned_at(90.0), pruned_at(91.0)} <= {"median": {3}, "hyperband": {1, 3}, "none": {None}}[pruner]
    assert pruned_at(0.0) is None


def test_equal_values_rank_by_age_and_states_are_counted(tmp_path: Path) -> None:
    one = study(tmp_path, 5)
    for state, value in (("COMPLETE", 3.0), ("COMPLETE", 1.0), ("FAIL", None), ("COMPLETE", 1.0)):
        held = one.next_trial()
        assert held is not None
        one.tell(held.trial, state=state, value=value)
        held.log.close()
    held = one.next_trial()
    assert [trial.number for trial in ranked(one.trials, goal="minimize")] == [1, 3, 0]
    assert [trial.number for trial in ranked(one.trials, goal="maximize")] == [0, 1, 3]
    assert counts(one.trials) == "3 complete, 1 failed, 1 interrupted"
    assert [rounded(value) for value in (0.123456, 1e-05, None, 3)] == ["0.1235", "1e-05", None, 3]
    assert held is not None
    held.log.close()


def test_the_parameter_that_decides_has_the_greatest_share_of_the_variance(tmp_path: Path) -> None:
    one = study(tmp_path, 10)
    for number in range(10):
        assert one.importances() == {}, f"{number} trials are too few"
        add(one, 10.0 * (number % 3), a=number % 3 + 1, b="xy"[number % 2])
    shares = one.importances()
    assert shares["a"] > 0.9
    assert sum(shares.values()) == pytest.approx(1)


def test_a_file_that_is_no_study_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text(yaml.safe_dump({"not": "SQLite"}) * 100)
    with pytest.raises(
        ConfigError, match=r"study\.db can't be used as the study's storage: .*not a database"
    ):
        study(tmp_path, 1)


def test_a_storage_that_can_not_be_written_is_told_with_the_remedy(tmp_path: Path, monkeypatch) -> None:
    study(tmp_path, 1)
    read_only = f"file:{tmp_path / 'study.db'}?mode=ro"
    monkeypatch.setattr(
        "tenet.search.study.ENGINE", {"creator": lambda: sqlite3.connect(read_only, uri=True)}
    )
    with pytest.raises(
        ConfigError, match=r"study\.db can't .*: attempt to write a readonly database; get perm"
    ):
        Study(space(tmp_path), storage=tmp_path / "study.db", total=2, pruner="none", evaluations=6)


def test_a_study_is_not_continued_on_other_data_than_its_trials_were_trained_on(tmp_path: Path) -> None:
    write_data(tmp_path)
    data = tmp_path / "data.npz"
    config = {"dataset": {"_target_": "tenet.data.Arrays", "path": str(data)}}
    fingerprint = fingerprints(Arrays(path=str(data)).load())
    first = study(tmp_path, 2)
    for value in (1.0, 2.0):
        held = first.next_trial()
        assert held is not None
        first.record_origin(held.trial, {"data": fingerprint, "files": stamp([data])})
        first.tell(held.trial, state="COMPLETE", value=value)
        held.log.close()
    read: list[int] = []
    study(tmp_path, 2).check_data(lambda trial: read.append(trial.number) or config)
    assert read == [0], "both were trained on the same files"
    write_data(tmp_path, seed=1)
    with pytest.raises(
        ConfigError,
        match=r"data set has changed since trial 0 of .*study\.db was trained \(training and test",
    ):
        study(tmp_path, 2).check_data(lambda trial: config)
