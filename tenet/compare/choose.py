"""Which of the runs are compared: those that the user asks for, without smoke runs and the trials of a search."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tenet.compare.keys import as_number, value_text
from tenet.compare.runs import CompareError, Run
from tenet.config.rules import did_you_mean

MAX_NAMED = 5  # values in a message


def where(runs: Sequence[Run], conditions: Sequence[str]) -> list[Run]:
    """The runs that meet all conditions, KEY=VALUE or KEY=VALUE,VALUE, and those whose configuration can't be read.

    Raises CompareError for a key that no run has, and for a condition after which no run is left.
    """
    chosen = list(runs)
    for condition in conditions:
        key, equals, wanted = condition.partition("=")
        check_key(key, (run.config for run in runs), option="--where")
        if not equals:
            raise CompareError(
                f"--where {condition}: give a value, such as {key}={value_text(chosen[0].config, key)}"
            )
        values = [value_text(run.config, key) for run in chosen if run.config]
        chosen = [run for run in chosen if not run.config or _is_one_of(value_text(run.config, key), wanted)]
        if not any(run.config for run in chosen):
            raise CompareError(
                f"--where {condition}: no run has this value; {key} is {name_nearest(wanted, values)}"
            )
    return chosen


def _is_one_of(value: str, wanted: str) -> bool:
    number = as_number(value)
    return value == wanted or any(
        value == text or (number is not None and as_number(text) == number) for text in wanted.split(",")
    )


def check_key(key: str, configs: Iterable[Mapping[str, Any]], *, option: str) -> None:
    """Raise CompareError for a key that none of the configurations has, with the nearest ones."""
    known = {name for config in configs for name in config}
    if key not in known:
        raise CompareError(f"{option} {key}: no run has this key{did_you_mean(key, known)}")


def name_nearest(value: str, values: Sequence[str]) -> str:
    """At most MAX_NAMED different values for a message, the nearest to `value` first."""
    known = dict.fromkeys(values)
    nearest = difflib.get_close_matches(value, known, n=MAX_NAMED, cutoff=0.0)
    return ", ".join(nearest) + (f" and {len(known) - MAX_NAMED} more" if len(known) > MAX_NAMED else "")


def set_apart(runs: Sequence[Run]) -> list[Run]:
    """The runs; if there are any others, smoke runs and the trials of searches are marked as left out."""
    if not any(run.is_finished and not run.kind for run in runs):
        return list(runs)
    return [replace(run, is_finished=False, problem=run.why_apart) if run.kind else run for run in runs]
