"""Runs by data set: figures on different test images are never ranked or subtracted."""

from collections.abc import Sequence
from typing import NamedTuple

from tenet.compare.choose import set_apart
from tenet.compare.runs import Run, leave_out_set_aside


class SameData(NamedTuple):
    """Runs that were tested on the same images. name: of their data set; no two are equal."""

    name: str
    runs: list[Run]


def split_by_data(runs: Sequence[Run]) -> list[SameData]:
    """The runs by their test images, in the order in which these first occur.

    Test images are the same if they have the same fingerprint or, where none is recorded, if the data sets have the same
    settings. Runs that can't be compared, such as broken ones, are listed with the others of their data set; if that is
    not known, with those of the first.
    """
    runs = set_apart(leave_out_set_aside(runs))
    finished = [run for run in runs if run.is_finished]
    recorded: dict[str, dict[str, None]] = {}
    for run in finished:
        recorded.setdefault(run.dataset_settings, {}).update({run.test_set: None} if run.test_set else {})

    def key(run: Run) -> str:
        known = list(recorded.get(run.dataset_settings, ()))
        return run.test_set or (known[0] if len(known) == 1 else run.dataset_settings)

    parts: dict[str, list[Run]] = {key(run): [] for run in finished}
    for run in runs:
        first = next(iter(parts), "")
        parts.setdefault(key(run) if key(run) in parts else first, []).append(run)
    names = [next((run.dataset for run in part if run.is_finished), "") for part in parts.values()]
    names = [
        name if names.count(name) == 1 else f"{name} {own[:8]}"
        for name, own in zip(names, parts, strict=True)
    ]
    return [SameData(name, part) for name, part in zip(names, parts.values(), strict=True)]
