"""An Optuna study in an SQLite file, shared by several processes, any of which may be killed.

A file lock on the log of a running trial is held by the search and by its training process. The kernel releases it
when both have ended. So a trial that is RUNNING in the study and not locked can be continued: no trial is lost, and
none runs twice. (Optuna's own heartbeat would repeat it as another trial.)
"""

import fcntl
import hashlib
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from tenet.errors import ConfigError, StorageError
from tenet.files.plain import check_own
from tenet.run.origin import check_data
from tenet.search.space import SearchSpace, points
from tenet.search.storage import check_schema, check_trials

PRUNERS = ("median", "hyperband", "none")
ORIGIN = "origin"  # the attribute of a trial
MIN_TRIALS = 10  # completed trials for an estimate of the importances
ENGINE = {"connect_args": {"timeout": 60}}  # seconds that SQLite waits for the write of another process
# By what SQLite says.
REMEDIES = {
    "database is locked": "end the process that holds it",
    "readonly database": "get permission to write to it and to its folder, or give another --storage=FILE",
    "Permission denied": "get permission to write to its folder, or give another --storage=FILE",
}

optuna.logging.set_verbosity(optuna.logging.WARNING)
# constant_liar, HyperbandPruner and the plots are experimental in Optuna 4 and 5.
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


@dataclass
class HeldTrial:
    """A trial for this process to run. log: open, and locked until it is closed.

    is_continued: an earlier process started it. reported: the number of its evaluations in the study.
    """

    trial: Trial
    log: IO[bytes]
    is_continued: bool
    reported: int


class Study:
    """The trials of a search space.

    total: the number of trials, including pruned and failed ones. evaluations: of a complete run.
    Raises ConfigError if Optuna can't use the file as its storage.
    """

    def __init__(
        self, space: SearchSpace, *, storage: Path, total: int, pruner: str, evaluations: int
    ) -> None:
        self.space, self.storage, self.total, self.evaluations = space, storage, total, evaluations
        self.folder = storage.parent / space.name
        with self._as_config_error():
            self.folder.mkdir(parents=True, exist_ok=True)
            check_own(self.folder)
            with self._alone():
                check_schema(storage)
                self.study = optuna.create_study(
                    study_name=space.name,
                    storage=optuna.storages.RDBStorage(f"sqlite:///{storage}", engine_kwargs=ENGINE),
                    direction=space.goal,
                    pruner=make_pruner(pruner, evaluations=evaluations),
                    load_if_exists=True,
                )
                if self.study.directions != [StudyDirection[space.goal.upper()]]:
                    raise ValueError("the study has another goal; give another --storage=FILE")
                check_trials(self.trials, space)

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    @property
    def is_done(self) -> bool:
        trials = self.trials
        return len(trials) >= self.total and all(trial.state.is_finished() for trial in trials)

    def log_file(self, number: int) -> Path:
        return self.folder / f"trial-{number}.log"

    def next_trial(self) -> HeldTrial | None:
        """Return the first abandoned trial, else a new one; None if all trials exist and none is abandoned."""
        with self._alone():
            left, log = self._abandoned()
            count = len(self.trials)
            if left is None and count >= self.total:
                return None
            self.study.sampler = make_sampler(self.space, number=left.number if left else count)
            with self._as_config_error():
                # A Trial with the same id has the parameters and the reported values of the abandoned one.
                trial = Trial(self.study, left._trial_id) if left else self.study.ask()
                log = log or self._hold(trial.number)
                assert log is not None, "no other process has seen the new trial"
                for key, parameter in self.space.parameters.items():
                    trial._suggest(key, parameter)  # keeps the value of an abandoned trial
            # GridSampler calls study.stop() after the last trial, which is an error outside study.optimize.
            self.study.sampler = optuna.samplers.RandomSampler()
            reported = max(left.intermediate_values, default=0) if left else 0
            return HeldTrial(trial, log, is_continued=left is not None, reported=reported)

    def _abandoned(self) -> tuple[FrozenTrial, IO[bytes]] | tuple[None, None]:
        """Find and lock a trial whose process has died."""
        for trial in self.trials:
            if trial.state == TrialState.RUNNING and (log := self._hold(trial.number)):
                # Its process may have finished it since the list was read.
                if (now := self.trials[trial.number]).state == TrialState.RUNNING:
                    return now, log
                log.close()
        return None, None

    def tell(self, trial: Trial, *, state: str, value: float | None = None) -> None:
        """state: COMPLETE, PRUNED or FAIL."""
        self.study.tell(trial, value, state=TrialState[state])

    def record_origin(self, trial: Trial, origin: Mapping[str, Any]) -> None:
        """Keep what the run of a trial was trained on (see tenet.run.origin) with the trial, unless it is known."""
        if ORIGIN not in trial.user_attrs:
            trial.set_user_attr(ORIGIN, dict(origin))

    def check_data(self, config_of: Callable[[FrozenTrial], Mapping[str, Any]]) -> None:
        """Raise ConfigError if a data set has changed since a finished trial was trained on it.

        config_of: returns the resolved configuration of a trial's run. Trials on the same files are checked once.
        """
        checked: list[Any] = []
        for trial in self.trials:
            origin = trial.user_attrs.get(ORIGIN)
            if not trial.state.is_finished() or not isinstance(origin, dict) or not origin.get("data"):
                continue
            if (origin["data"], origin.get("files")) not in checked:
                what = f"trial {trial.number} of {self.storage} was trained"
                check_data(
                    origin, config_of(trial), what=what, remedy="remove that file and the runs of the search"
                )
                checked.append((origin["data"], origin.get("files")))

    def importances(self) -> Mapping[str, float]:
        """Return each parameter's share of the variance of the values, by fANOVA (Hutter et al. 2014).

        Empty for a single parameter, equal values, or fewer than MIN_TRIALS completed trials.
        """
        complete = [trial.value for trial in self.trials if trial.state == TrialState.COMPLETE]
        if len(self.space.parameters) < 2 or len(complete) < MIN_TRIALS or len(set(complete)) < 2:
            return {}
        fanova = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return optuna.importance.get_param_importances(self.study, evaluator=fanova)

    @contextmanager
    def _as_config_error(self) -> Iterator[None]:
        """Convert the errors of SQLite, SQLAlchemy, Alembic and Optuna about the storage; SQLite's own reason is told
        if there is one."""
        try:
            yield
        except Exception as error:
            told = cause = error
            while isinstance(cause, Exception):
                told = cause if isinstance(cause, sqlite3.Error | OSError) else told
                cause = cause.__cause__  # type: ignore[assignment]
            reason = " ".join(str(told).split("\n")[0].split()) or type(told).__name__
            remedy = next((remedy for words, remedy in REMEDIES.items() if words in reason), None)
            remedy = "" if remedy is None else f"; {remedy}, then start the same command again"
            raise ConfigError(
                f"{self.storage} can't be used as the study's storage: {reason}{remedy}"
            ) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process at a time create tables and trials."""
        path = self.storage.with_name(f"{self.storage.name}.lock")
        check_own(path)
        with path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                raise StorageError(
                    f"{lock.name}: can't be locked: {error.strerror}; give --storage=FILE on a disk with file locks"
                ) from error
            yield

    def _hold(self, number: int) -> IO[bytes] | None:
        """Open and lock the log of a trial; None if another process holds the lock."""
        log = self.log_file(number).open("ab")
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            log.close()
            return None
        return log


def make_sampler(space: SearchSpace, *, number: int) -> optuna.samplers.BaseSampler:
    """Return the sampler for a trial. Its seed depends on the study and the trial's number, not on the process."""
    if space.method == "grid":
        grid = {key: points(parameter) for key, parameter in space.parameters.items()}
        # The seed determines the order of the points. Trial n uses point n, so all processes need the same one.
        return optuna.samplers.GridSampler(grid, seed=0)
    seed = int(hashlib.sha256(f"{space.name}/{number}".encode()).hexdigest()[:8], 16)
    if space.method == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    # constant_liar: avoids the neighbourhood of trials that are still running.
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


def make_pruner(name: str, *, evaluations: int) -> optuna.pruners.BasePruner:
    """Steps are evaluations, counted from 1. The median pruner ignores the first third of a run."""
    if name == "median":
        return optuna.pruners.MedianPruner(n_warmup_steps=evaluations // 3 + 1)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=max(1, evaluations // 9), max_resource=evaluations, reduction_factor=3
        )
    return optuna.pruners.NopPruner()
