"""The output of a search: one line for each event of a trial, and the best trials at the end."""

import shlex
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.table import Table
from rich.text import Text

from tenet.config.command_line import plan
from tenet.config.overrides import as_argument
from tenet.failures import print_error
from tenet.files.atomic import write_atomically
from tenet.files.figures import default_style
from tenet.printing import console
from tenet.search.space import SearchSpace
from tenet.search.study import Study

MAX_ROWS = 10
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "interrupted"}


def rounded(value: Any) -> Any:
    """Round a float to four digits, as text."""
    return f"{value:.4g}" if isinstance(value, float) else value


def line(number: int, state: str, remark: str) -> str:
    return f"trial {number:<3} {state:<8}  {remark}"


def ranked(trials: Sequence[FrozenTrial], *, goal: str) -> list[FrozenTrial]:
    """Return the completed trials, best first; equal values in the order of their numbers."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    sign = 1 if goal == "minimize" else -1
    return sorted(complete, key=lambda trial: (sign * float(trial.value or 0), trial.number))


def counts(trials: Sequence[FrozenTrial]) -> str:
    """Return the number of trials in each state, such as `9 complete, 2 pruned, 1 failed`."""
    found = Counter(trial.state.name for trial in trials)
    return ", ".join(f"{found[state]} {name}" for state, name in STATES.items() if found[state])


def print_table(space: SearchSpace, trials: Sequence[FrozenTrial]) -> None:
    """Print the best completed trials."""
    plain = console(width=shutil.get_terminal_size((110, 24)).columns)
    # Text, because rich would parse brackets in values as markup.
    plain.print(Text(f"The best of {len(trials)} trials: {counts(trials)}"), soft_wrap=True)
    table = Table()
    for name in ("trial", *space.parameters, space.metric):
        table.add_column(Text(name), justify="right")
    for trial in ranked(trials, goal=space.goal)[:MAX_ROWS]:
        values = [str(rounded(trial.params[key])) for key in space.parameters]
        table.add_row(str(trial.number), *map(Text, values), f"{trial.value:.2f}")
    plain.print(table)


def print_result(study: Study, *, config_dir: Path) -> bool:
    """Print the best trials, the folder and the command of the best run, and the importances; draw the plots.

    Return False if no trial is complete.
    """
    space, trials = study.space, study.trials
    best = next(iter(ranked(trials, goal=space.goal)), None)
    if best is None:
        print_error(f"no trial was completed ({counts(trials)}); logs in {study.folder}")
        return False
    print_table(space, trials)
    words = space.words(best.params)
    run_dir, _ = plan(words, config_dir=config_dir, config_name="train")
    print(f"best: trial {best.number}, {space.metric} {best.value:.2f}, in {run_dir}")
    print(shlex.join(["python", "train.py", *words]))
    print(f"evaluate: python evaluate.py {as_argument('run', run_dir)}")
    if importances := study.importances():
        shares = ", ".join(f"{key} {share:.2f}" for key, share in importances.items())
        print(f"share of the variance (fANOVA): {shares}")
    draw(study)
    return True


@default_style()
def draw(study: Study) -> None:
    """Write and name Optuna's plots: the trials in order, and the value over each parameter."""
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as plots

    pyplot.switch_backend("Agg")
    for name in ("optimization_history", "slice"):
        getattr(plots, f"plot_{name}")(study.study, target_name=study.space.metric)
        path = study.folder.with_name(f"{study.folder.name}-{name}.png")
        write_atomically(path, lambda file: pyplot.savefig(file, format="png", dpi=150, bbox_inches="tight"))
        pyplot.close()
        print(path)
