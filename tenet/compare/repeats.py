"""Several runs of one configuration: which of them stands for all."""

import re
from collections.abc import Sequence
from pathlib import Path

from tenet.compare.keys import is_same_configuration
from tenet.compare.runs import Run

# How train.py names the folder of an older run of the same configuration, with rerun=true.
SET_ASIDE = re.compile(r"(.+)-before-\d{8}-\d{6}(-\d{6})?")


def left_out_for_another(runs: Sequence[Run]) -> dict[Path, str]:
    """By folder, why those are left out whose very configuration another of the runs has."""
    problems = _set_aside(runs)
    return problems | _repeated([run for run in runs if run.folder not in problems])


def _set_aside(runs: Sequence[Run]) -> dict[Path, str]:
    """By folder, why those that a rerun replaced are left out."""
    places = {run.folder for run in runs}
    names = {run.folder: SET_ASIDE.fullmatch(run.folder.name) for run in runs}
    return {
        folder: "set aside by rerun=true; the newer run is compared"
        for folder, name in names.items()
        if name and folder.with_name(name[1]) in places
    }


def _repeated(runs: Sequence[Run]) -> dict[Path, str]:
    """By folder, why those whose very configuration another run has are left out: an evaluated one is kept,
    or else the first."""
    kept: list[Run] = []
    problems = {}
    for run in sorted(runs, key=lambda run: not run.is_evaluated):
        same = [k for k in kept if k.seed == run.seed and is_same_configuration(k.config, run.config)]
        if same:
            problems[run.folder] = f"the same configuration as {same[0].folder}, which is compared"
        else:
            kept.append(run)
    return problems
