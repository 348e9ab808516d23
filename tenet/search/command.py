"""`python sweeps/search.py`: run the trials of a search space, each in a process of its own."""

import argparse
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from optuna.exceptions import StorageInternalError

from tenet.config.command_line import check_command_line, plan
from tenet.errors import ConfigError, UserError
from tenet.failures import FAILED, INTERRUPTED, WRONG_COMMAND, print_error
from tenet.printing import open_streams
from tenet.search.loop import Search
from tenet.search.report import print_result
from tenet.search.space import SearchSpace, ends, read_space
from tenet.search.study import PRUNERS, Study

FOLDER = Path("runs/search")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python sweeps/search.py",
        description="Search settings by Optuna, without an account, over the space of a W&B sweep definition.",
        epilog="Repeat the command to continue an interrupted search. Several processes may share a search.",
    )
    add = parser.add_argument
    add("space", type=Path, metavar="SPACE.yaml", help="such as sweeps/groups.yaml")
    text = "for every run; replaces a parameter of the file"
    add("overrides", nargs="*", metavar="KEY=VALUE", help=text)
    text = "of the whole study; default: the file's run_cap, or the grid"
    add("--trials", type=int, metavar="N", help=text)
    add("--workers", type=int, default=1, metavar="N", help="trials at a time (default: 1)")
    add("--pruner", choices=PRUNERS, help="default: median; none for a grid")
    text = "an SQLite file; default: the study's own in runs/search"
    add("--storage", type=Path, metavar="FILE", help=text)
    return parser


def main(arguments: Sequence[str], *, root: Path) -> int:
    """Search with the train.py and the conf/ in `root`, and return the exit code."""
    open_streams()
    asked = parser().parse_intermixed_args(list(arguments))
    try:
        study = open_study(asked, config_dir=root / "conf")
    except UserError as error:
        print_error(error)
        return WRONG_COMMAND
    again = shlex.join(["python", "sweeps/search.py", *arguments])
    try:
        Search(study, root=root, workers=asked.workers).run()
    except KeyboardInterrupt:
        print(f"interrupted; to continue: {again}", file=sys.stderr)
        return INTERRUPTED
    except UserError as error:
        print_error(error)
        return FAILED
    except StorageInternalError as error:
        reason = str(error.__cause__ or error).splitlines()[0]  # of SQLite, such as a full disk
        print_error(f"{study.storage}: {reason}; to continue: {again}")
        return FAILED
    return 0 if print_result(study, config_dir=root / "conf") else FAILED


def open_study(asked: argparse.Namespace, *, config_dir: Path) -> Study:
    """Check the command and the space, then create or open the study.

    Raises ConfigError, also if the data set of a finished trial has changed.
    """
    if asked.workers < 1:
        raise ConfigError(f"--workers={asked.workers}: must be at least 1")
    space = read_space(asked.space, asked.overrides)
    try:
        evaluations = check_space_runs(space, config_dir=config_dir)
    except ConfigError as error:
        # An error in an override is not an error in the file.
        is_overrides = any(override.partition("=")[0] in str(error) for override in asked.overrides)
        raise error if is_overrides else ConfigError(f"{asked.space}: {error}") from error
    study = Study(
        space,
        storage=asked.storage or FOLDER / f"{space.name}.db",
        total=number_of_trials(space, asked.trials),
        pruner=asked.pruner or ("none" if space.method == "grid" else "median"),
        evaluations=evaluations,
    )
    study.check_data(
        lambda trial: plan(space.words(trial.params), config_dir=config_dir, config_name="train")[1]
    )
    return study


def check_space_runs(space: SearchSpace, *, config_dir: Path) -> int:
    """Check the runs of a space and return the largest number of evaluations of a run.

    Raises ConfigError if train.py would refuse a run, or if no validation set is held out.
    """
    variants = list(space.variants())
    for words in variants:
        check_command_line(words, config_dir=config_dir, config_name="train")
        for key in ("resume", "rerun"):
            if any(word.startswith(f"{key}=") for word in words):
                raise ConfigError(f"{key}: a search continues its own runs; leave it out")
    _, config = plan(variants[0], config_dir=config_dir, config_name="train")
    held_out = "dataset.validation_fraction"
    varied = space.parameters.get(held_out)
    if 0 in (ends(varied) if varied else [config["dataset"]["validation_fraction"]]):
        raise ConfigError(
            f"{held_out}=0: no validation set is held out; set {held_out}=0.1 (never choose by the test set)"
        )
    if "corrupted" in space.metric and "validation" not in config:
        raise ConfigError(f"metric.name={space.metric}: set validation.corruptions, such as [extra]")
    trainer = config["trainer"]
    return math.ceil(trainer["epochs"] / trainer["evaluate_every_epochs"])


def number_of_trials(space: SearchSpace, asked: int | None) -> int:
    """Return the number that the command or else the file asks for, but no more than a grid has points."""
    if asked is not None and asked < 1:
        raise ConfigError(f"--trials={asked}: must be at least 1")
    wanted = asked or space.run_cap
    if space.method == "grid":
        return min(wanted or space.grid_points, space.grid_points)
    if wanted is None:
        raise ConfigError(
            f"--trials is missing: method {space.method} has no end; or set run_cap in the file"
        )
    return wanted
