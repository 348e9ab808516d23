"""What a search tells: a line when a trial starts and ends, and the best trials in the end."""

import shlex
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenet.config.command_line import plan
from tenet.config.run_config import as_argument
from tenet.search.picture import draw
from tenet.search.space import SearchSpace
from tenet.search.study import Study

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

BEST = 10  # trials in the table


def plain_value(value: Any) -> Any:
    """A value for people: four digits are enough."""
    return f"{value:.4g}" if isinstance(value, float) else value


def line(number: int, state: str, remark: str) -> str:
    return f"trial {number:<3} {state:<8}  {remark}"


def ranked(trials: "list[FrozenTrial]", *, goal: str) -> "list[FrozenTrial]":
    """The completed trials, best first; of equals the earlier one."""
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    sign = 1 if goal == "minimize" else -1
    return sorted(complete, key=lambda trial: (sign * float(trial.value or 0), trial.number))


def counts(trials: "list[FrozenTrial]") -> str:
    """Such as `9 complete, 2 pruned, 1 failed`."""
    names = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "interrupted"}
    found = Counter(names.get(trial.state.name, "waiting") for trial in trials)
    return ", ".join(f"{found[name]} {name}" for name in (*names.values(), "waiting") if found[name])


def print_table(space: SearchSpace, trials: "list[FrozenTrial]") -> None:
    """The best of the completed trials."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    best = ranked(trials, goal=space.goal)[:BEST]
    console = Console(width=shutil.get_terminal_size((110, 24)).columns)
    # Text, not str: rich would read brackets in values as its markup.
    console.print(Text(f"The best of {len(trials)} trials: {counts(trials)}"), soft_wrap=True)
    table = Table()
    for name in ("trial", *space.parameters, space.metric):
        table.add_column(Text(name), justify="right")
    for trial in best:
        values = [str(plain_value(trial.params[key])) for key in space.parameters]
        table.add_row(str(trial.number), *map(Text, values), f"{trial.value:.2f}")
    console.print(table)


def tell_result(study: Study, *, config_dir: Path) -> bool:
    """Tell the best trials, where the best run is, how to make it, and which parameters matter; draw the
    picture. False if no trial was completed."""
    space, trials = study.space, study.trials
    best = next(iter(ranked(trials, goal=space.goal)), None)
    if best is None:
        print(f"error: no trial was completed ({counts(trials)}); logs in {study.folder}", file=sys.stderr)
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
    print(draw(study, study.folder.with_suffix(".png")))
    return True
