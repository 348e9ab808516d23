"""Checks of a study's storage, which may come from others: an SQLite file can hold code, and trials of another search."""

import math
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import text

from tenet.files.plain import check_own
from tenet.search.space import Parameter, SearchSpace

# The states in which a search leaves a trial. Optuna also knows WAITING, for trials that no process would run here.
STATES = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
SCHEMA = "SELECT type, name, sql FROM sqlite_master"


def check_schema(path: Path) -> None:
    """Raise ValueError for a file with anything but Optuna's own tables.

    A view or a generated column is computed whenever it is read, and may never end; a trigger runs when trials are
    added. Raises OSError if the file is a link or not a plain file, sqlite3.Error if SQLite can't read it.
    """
    check_own(path)
    if not path.exists() or path.stat().st_size == 0:
        return
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as file:
        found = {tuple(row) for row in file.execute(SCHEMA)}
    if not found:
        return
    with optuna.storages.RDBStorage("sqlite://").engine.connect() as memory:
        own = {tuple(row) for row in memory.execute(text(SCHEMA))}
    if found != own:
        _, name, _ = min(found ^ own, key=str)
        raise ValueError(
            f"{name} is not as Optuna {optuna.__version__} makes it; give another --storage=FILE"
        )


def check_trials(trials: Sequence[FrozenTrial], space: SearchSpace) -> None:
    """Raise ValueError for the first trial that a search of `space` would not have written."""
    for number, trial in enumerate(trials):
        if reason := _fault(trial, number, space):
            raise ValueError(f"trial {number}: {reason}; give another --storage=FILE")


def _fault(trial: FrozenTrial, number: int, space: SearchSpace) -> str | None:
    names = set(trial.params)
    if trial.number != number:
        return "the trials are not numbered in their order"
    if trial.state not in STATES:
        return f"no search leaves a trial {trial.state.name}"
    if names - set(space.parameters) or (trial.state in STATES[1:3] and names != set(space.parameters)):
        return "it has other parameters than the search"
    for name in names:
        if trial.distributions[name] != space.parameters[name]:
            return f"{name} has another range or other choices"
        if not contains(space.parameters[name], trial.params[name]):
            return f"{name}={trial.params[name]} is outside of its range"
    if trial.state == TrialState.COMPLETE and not (trial.values and _is_finite(trial.values[0])):
        return "it is complete and has no finite value"
    for step, value in trial.intermediate_values.items():
        if not (isinstance(step, int) and step >= 1 and isinstance(value, float)):
            return f"{value} is no value of an evaluation {step}"
    return next(
        (
            f"{key} is not an attribute of a search's trial"
            for key, value in trial.system_attrs.items()
            if not _is_attribute(key, value, space)
        ),
        None,
    )


def _is_attribute(key: str, value: object, space: SearchSpace) -> bool:
    """Whether a sampler or a pruner of a search keeps such a value with a trial."""
    if space.method == "grid" and key in ("grid_id", "search_space"):
        return key == "search_space" or (isinstance(value, int) and 0 <= value < space.grid_points)
    if space.method == "bayes" and key.startswith("tpe:"):
        return isinstance(value, str)
    return key.startswith("completed_rung_") and isinstance(value, float)


def contains(parameter: Parameter, value: Any) -> bool:
    try:
        return bool(parameter._contains(parameter.to_internal_repr(value)))
    except (TypeError, ValueError):  # of another type, or none of the choices
        return False


def _is_finite(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)
