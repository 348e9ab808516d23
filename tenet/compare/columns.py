"""The columns of a comparison: which figures are shown, in which order, and which of two is the better one."""

import math
import re
from collections.abc import Iterable, Sequence

from tenet.compare.evaluations import MCE, ROBUST, SOURCES, TEST, TEST_ERROR
from tenet.compare.keys import natural
from tenet.compare.runs import CompareError, Run
from tenet.compare.spread import Spread
from tenet.config.rules import did_you_mean

HEADLINES = {"test": TEST, "mce": MCE, "robust": ROBUST}  # by the name that a user types
HIGHER = re.compile(r"accuracy|precision|images_per_s")
LOWER = re.compile(r"error|mce|loss|nll|flip|brier|aurc|gradient_norm|seconds|bytes", re.IGNORECASE)


def choose_columns(
    runs: Sequence[Run], *, chosen: Sequence[str] = (), metrics: Sequence[str] = ()
) -> tuple[str, ...]:
    """The `chosen` figures, by default test error, mCEs and robust accuracies; then the `metrics`.

    mCEs on official files come first. chosen: test, mce, robust or names of metrics.
    Raises CompareError for a figure that no run has.
    """
    names = list(dict.fromkeys(name for run in runs for name in sorted(run.figures)))
    order = [TEST_ERROR, *(f"{MCE}{source}, %" for source in SOURCES.values())]
    headlines = [name for name in names if name.startswith((f"{TEST}, ", MCE, ROBUST))]
    headlines.sort(
        key=lambda name: (
            name.startswith(ROBUST),
            order.index(name) if name in order else len(order),
            natural(name),
        )
    )
    found = list(headlines) if not chosen else []
    for option, wanted in (("--columns", chosen), ("--metrics", metrics)):
        for figure in wanted:
            columns = columns_of(figure, headlines if figure in HEADLINES else names)
            if not columns:
                known = {*HEADLINES, *(name.partition(", ")[0] for name in names if "/" in name)}
                raise CompareError(f"{option} {figure}: no finished run has it{did_you_mean(figure, known)}")
            found += columns
    return tuple(dict.fromkeys(found))


def columns_of(figure: str, columns: Iterable[str]) -> list[str]:
    """The columns of a figure, which is named as a user types it: one for each source of corruptions."""
    prefix = HEADLINES.get(figure)
    if prefix is not None:
        return [name for name in columns if name.startswith(prefix)]
    return [name for name in columns if name == figure or name.startswith(f"{figure}, ")]


def sort_column(sort: str, columns: Sequence[str]) -> str:
    """The first column that `sort` names; if there is none, for mce and name the first of all columns.

    Empty without columns. Raises CompareError for any other name that none of the columns has.
    """
    wanted = columns_of({"name": "mce"}.get(sort, sort), columns)
    if not wanted and sort not in ("mce", "name"):
        raise CompareError(
            f"--sort {sort}: no column shows it; add it to --columns, or choose another one of them"
        )
    return (*wanted, *columns, "")[0]


def direction(column: str) -> int:
    """-1 if lower figures are better, 1 if higher ones are, 0 if that is not known."""
    return 1 if HIGHER.search(column) else -1 if LOWER.search(column) else 0


def rank(spread: Spread | None, column: str) -> float:
    """Sort key: the best mean first, or the lowest if it is not known which is better; a missing mean last."""
    return math.inf if spread is None else -spread.mean if direction(column) > 0 else spread.mean
