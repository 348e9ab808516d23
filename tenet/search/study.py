"""An Optuna study in an SQLite file, on which several processes may work, and any may die.

A trial that runs is held by a lock on its log file. The lock is the kernel's, and shared with the training
process, whose output goes there: it ends when both have ended, however they end. So a trial that is running
in the study and held by nobody is free to be gone on with: none is lost, and none is run twice.
"""

import fcntl
import hashlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from tenet.errors import ConfigError
from tenet.search.space import Choice, Parameter, SearchSpace, points

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.trial import FrozenTrial

PRUNERS = ("median", "hyperband", "none")
ENOUGH = 10  # completed trials, to tell which parameters matter
BUSY_TIMEOUT_S = 60  # how long SQLite waits for another process's write


class HeldTrial(NamedTuple):
    """A trial that this process is to run. log: open, and locked until it is closed.

    goes_on: it was begun by a process that is no more, which reported the first `reported` evaluations.
    """

    trial: "Trial"
    log: IO[bytes]
    goes_on: bool
    reported: int


class Study:
    """The trials of a search space.

    total: how many trials to make, whatever becomes of them. evaluations: of a whole run, for the pruner.
    Raises ConfigError if Optuna is missing, or the file is no storage of its studies.
    """

    def __init__(
        self, space: SearchSpace, *, storage: Path, total: int, pruner: str, evaluations: int
    ) -> None:
        self.space, self.storage, self.total = space, storage, total
        self.folder = storage.parent / space.name
        optuna = import_optuna()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._alone():
                self.study = optuna.create_study(
                    study_name=space.name,
                    storage=optuna.storages.RDBStorage(
                        f"sqlite:///{storage}", engine_kwargs={"connect_args": {"timeout": BUSY_TIMEOUT_S}}
                    ),
                    direction=space.goal,
                    sampler=optuna.samplers.RandomSampler(),
                    pruner=make_pruner(pruner, evaluations=evaluations),
                    load_if_exists=True,
                )
        except Exception as error:  # SQLite, SQLAlchemy, Alembic and Optuna each have errors of their own
            reason = " ".join(str(error).split("\n")[0].split())
            raise ConfigError(f"{storage} can't be used as the study's storage: {reason}") from error

    @property
    def trials(self) -> "list[FrozenTrial]":
        return self.study.get_trials(deepcopy=False)

    @property
    def is_done(self) -> bool:
        trials = self.trials
        return len(trials) >= self.total and all(trial.state.is_finished() for trial in trials)

    def log_file(self, number: int) -> Path:
        return self.folder / f"trial-{number}.log"

    def next_trial(self) -> HeldTrial | None:
        """The first trial that died with its process, else a new one; None if there is neither."""
        import optuna

        with self._alone():
            left, log = self._left_behind()
            count = len(self.trials)
            if left is None and count >= self.total:
                return None
            self.study.sampler = make_sampler(self.space, number=left.number if left else count)
            # Made anew from its id, a trial keeps the values it was given and those it reported.
            trial = optuna.Trial(self.study, left._trial_id) if left else self.study.ask()
            log = log or self._hold(trial.number)
            assert log is not None, "nobody else knows of the new trial yet"
            for key, parameter in self.space.parameters.items():
                suggest(trial, key, parameter)
            # A GridSampler ends the study with its last trial, which only Optuna's own loop allows.
            self.study.sampler = optuna.samplers.RandomSampler()
            reported = max(left.intermediate_values, default=0) if left else 0
            return HeldTrial(trial, log, goes_on=left is not None, reported=reported)

    def _left_behind(self) -> "tuple[FrozenTrial, IO[bytes]] | tuple[None, None]":
        """A trial that died with its process, now held by this one."""
        for trial in self.trials:
            if trial.state.name == "RUNNING" and (log := self._hold(trial.number)):
                # Its process may have finished it, and let it go, since the list was made.
                if (now := self.trials[trial.number]).state.name == "RUNNING":
                    return now, log
                log.close()
        return None, None

    def tell(self, trial: "Trial", *, state: str, value: float | None = None) -> None:
        """state: COMPLETE, PRUNED or FAIL."""
        from optuna.trial import TrialState

        self.study.tell(trial, value, state=TrialState[state])

    def importances(self) -> Mapping[str, float]:
        """The share of each parameter in the variance of the values, by fANOVA (Hutter et al. 2014); nothing
        for one parameter, or from fewer than ENOUGH completed trials."""
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances

        complete = [trial.value for trial in self.trials if trial.state.name == "COMPLETE"]
        if len(self.space.parameters) < 2 or len(complete) < ENOUGH or len(set(complete)) < 2:
            return {}
        return get_param_importances(self.study, evaluator=FanovaImportanceEvaluator(seed=0))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time asks for trials, or creates tables."""
        with self.storage.with_name(f"{self.storage.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _hold(self, number: int) -> IO[bytes] | None:
        """The trial's log, locked; None if another process has it."""
        log = self.log_file(number).open("ab")
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            log.close()
            return None
        return log


def import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("the search needs Optuna: pip install 'tenet-training[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Optuna 4 calls some of what is used here experimental.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def make_sampler(space: SearchSpace, *, number: int) -> Any:
    """For the trial of this number: all randomness is a function of the study and the number, not of who asks."""
    import optuna

    if space.method == "grid":
        # Its seed only orders the points, and must be the same for all: trial n takes the n-th.
        return optuna.samplers.GridSampler(
            {key: points(parameter) for key, parameter in space.parameters.items()}, seed=0
        )
    seed = int(hashlib.sha256(f"{space.name}/{number}".encode()).hexdigest()[:8], 16)
    if space.method == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    # constant_liar: trials that run at the same time keep off each other.
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


def make_pruner(name: str, *, evaluations: int) -> Any:
    """Steps are evaluations, counted from 1; in the first third a learning curve tells little."""
    import optuna

    if name == "median":
        return optuna.pruners.MedianPruner(n_warmup_steps=evaluations // 3 + 1)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=max(1, evaluations // 9), max_resource=evaluations, reduction_factor=3
        )
    return optuna.pruners.NopPruner()


def suggest(trial: "Trial", key: str, parameter: Parameter) -> None:
    """Give the trial its value of the parameter, if it has none yet."""
    if isinstance(parameter, Choice):
        trial.suggest_categorical(key, parameter.values)
    elif isinstance(parameter.low, int) and isinstance(parameter.high, int):
        trial.suggest_int(key, parameter.low, parameter.high, step=int(parameter.step or 1))
    else:
        trial.suggest_float(key, parameter.low, parameter.high, step=parameter.step, log=parameter.log)
