"""`python sweeps/search.py`: run the trials of a search space, each in a process of its own."""

import argparse
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from tenet.config.command_line import check_command_line, plan
from tenet.errors import ConfigError, UserError
from tenet.failures import FAILED, INTERRUPTED, WRONG_COMMAND
from tenet.search.loop import Search
from tenet.search.report import tell_result
from tenet.search.space import SearchSpace, ends, read_space
from tenet.search.study import PRUNERS, Study

FOLDER = Path("runs/search")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python sweeps/search.py",
        description="Search settings by Optuna, without an account, over the space of a W&B sweep definition.",
        epilog="The same command goes on with an interrupted search; started several times, it shares the work.",
    )
    parser.add_argument("space", type=Path, metavar="SPACE.yaml", help="such as sweeps/groups.yaml")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="for every run; a parameter's takes its place"
    )
    parser.add_argument(
        "--trials", type=int, metavar="N", help="of the whole study; default: the file's run_cap, or the grid"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="trials at a time (default: 1)")
    parser.add_argument("--pruner", choices=PRUNERS, help="default: median; none for a grid")
    parser.add_argument(
        "--storage", type=Path, metavar="FILE", help="an SQLite file; default: the study's own in runs/search"
    )
    return parser


def main(arguments: Sequence[str], *, root: Path) -> int:
    """Search with the train.py and the conf/ in `root`, and return the exit code."""
    asked = parser().parse_intermixed_args(list(arguments))
    try:
        if asked.workers < 1:
            raise ConfigError(f"--workers={asked.workers}: must be at least 1")
        space = read_space(asked.space, asked.overrides)
        try:
            evaluations = check(space, config_dir=root / "conf")
        except ConfigError as error:
            # What stands in the command itself is not the file's fault.
            is_overrides = any(override.partition("=")[0] in str(error) for override in asked.overrides)
            raise error if is_overrides else ConfigError(f"{asked.space}: {error}") from error
        study = Study(
            space,
            storage=asked.storage or FOLDER / f"{space.name}.db",
            total=number_of_trials(space, asked.trials),
            pruner=asked.pruner or ("none" if space.method == "grid" else "median"),
            evaluations=evaluations,
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_COMMAND
    from optuna.exceptions import StorageInternalError

    again = shlex.join(["python", "sweeps/search.py", *arguments])
    try:
        Search(study, root=root, workers=asked.workers, evaluations=evaluations).run()
    except KeyboardInterrupt:
        print(f"interrupted; go on: {again}", file=sys.stderr)
        return INTERRUPTED
    except StorageInternalError as error:
        # A full disk, say, in SQLite's own words.
        reason = str(error.__cause__ or error).splitlines()[0]
        print(f"error: {study.storage}: {reason}; go on: {again}", file=sys.stderr)
        return FAILED
    return 0 if tell_result(study, config_dir=root / "conf") else FAILED


def check(space: SearchSpace, *, config_dir: Path) -> int:
    """How often a run of the space is evaluated, at most.

    Raises ConfigError for what train.py would refuse, and where nothing is held out to choose by.
    """
    variants = list(space.variants())
    for words in variants:
        check_command_line(words, config_dir=config_dir, config_name="train")
        for key in ("resume", "rerun"):
            if any(word.startswith(f"{key}=") for word in words):
                raise ConfigError(f"{key}: a search goes on with its own runs; leave it out")
    _, config = plan(variants[0], config_dir=config_dir, config_name="train")
    held_out = "dataset.validation_fraction"
    varied = space.parameters.get(held_out)
    if 0 in (ends(varied) if varied else [config["dataset"]["validation_fraction"]]):
        raise ConfigError(
            f"{held_out}=0: nothing is held out to choose by; give {held_out}=0.1 (never choose by the test set)"
        )
    trainer = config["trainer"]
    return math.ceil(trainer["epochs"] / trainer["evaluate_every_epochs"])


def number_of_trials(space: SearchSpace, asked: int | None) -> int:
    """As many as are asked for, by the command or else by the file; a grid has no more than its points."""
    if asked is not None and asked < 1:
        raise ConfigError(f"--trials={asked}: must be at least 1")
    wanted = asked or space.run_cap
    if space.method == "grid":
        return min(wanted or space.grid_points, space.grid_points)
    if wanted is None:
        raise ConfigError(
            f"--trials is missing: method {space.method} has no end; or give the file a run_cap"
        )
    return wanted
