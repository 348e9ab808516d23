"""Groups of runs that differ only in the seed, their figures, and paired differences between groups."""

import difflib
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from tenet.compare.evaluations import MCE, ROBUST, SOURCES, TEST, TEST_ERROR
from tenet.compare.keys import differing_keys, natural, short_label, short_numbers, value_text
from tenet.compare.runs import CompareError, Run, find_repeats, leave_out_set_aside
from tenet.config.rules import did_you_mean

MAX_NAMED = 5  # values in a message
MIN_PAIRS = 3  # the interval of two pairs would be 13 standard errors wide on each side


class Spread(NamedTuple):
    """Mean over seeds and sample deviation (n - 1), which is None for one seed."""

    mean: float
    deviation: float | None
    seeds: int


class Difference(NamedTuple):
    """Mean difference over common seeds (None without any) and its 95 % interval (None with too few pairs)."""

    mean: float | None
    interval: tuple[float, float] | None
    pairs: int


@dataclass(frozen=True)
class Group:
    """values: one text for each of the comparison's keys. short_values: with numbers to four digits."""

    values: tuple[str, ...]
    short_values: tuple[str, ...]
    label: str
    runs: tuple[Run, ...]

    @property
    def overlaps(self) -> list[str]:
        """The benchmark's corruptions that the training of any of its runs showed the network."""
        return sorted({name for run in self.runs for name in run.overlaps})

    def by_seed(self, column: str) -> dict[int, float]:
        return {run.seed: run.figures[column] for run in self.runs if column in run.figures}

    def spread(self, column: str) -> Spread | None:
        """None if no run of the group has the figure."""
        values = list(self.by_seed(column).values())
        if not values:
            return None
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return Spread(statistics.fmean(values), deviation, len(values))


@dataclass(frozen=True)
class Comparison:
    """keys: dotted keys by which the groups differ. groups: in the order of their mean in the column
    `sorted_by`. baseline: one of the groups. runs: all runs, with their problems. columns: names of figures.
    metrics: the columns that were asked for by name.
    """

    keys: tuple[str, ...]
    groups: tuple[Group, ...]
    baseline: Group
    runs: tuple[Run, ...]
    columns: tuple[str, ...]
    sorted_by: str
    metrics: tuple[str, ...] = ()

    @property
    def members(self) -> list[Run]:
        return [run for group in self.groups for run in group.runs]

    @property
    def problems(self) -> list[Run]:
        return [run for run in self.runs if run.problem]

    @property
    def mixed_keys(self) -> list[str]:
        """Keys that differ within a group, because `by` left them out."""
        return sorted(
            {key for group in self.groups for key in differing_keys([r.config for r in group.runs])}
        )

    def difference(self, group: Group, column: str) -> Difference:
        return paired_difference(group.by_seed(column), baseline=self.baseline.by_seed(column))


def compare(
    runs: Sequence[Run],
    *,
    by: Sequence[str] = (),
    metrics: Sequence[str] = (),
    sort: str = "mce",
    baseline: Sequence[str] = (),
) -> Comparison:
    """Group the finished runs by the keys that differ, or by those in `by`.

    metrics: more columns, by their names in summary.json. sort: mce, test, name, or one of the metrics.
    baseline: KEY=VALUE texts that select one group; the first group by default.
    Raises CompareError for unknown keys or metrics, without a finished run, if a group has a seed twice, or
    if the baseline is not exactly one group.
    """
    runs = name_archives(leave_out_set_aside(runs))
    finished = [run for run in runs if run.is_finished]
    if not finished:
        listed = "; ".join(f"{run.folder}: {run.problem}" for run in runs[:3])
        more = f"; and {len(runs) - 3} more" if len(runs) > 3 else ""
        raise CompareError(f"no finished run to compare ({listed}{more})")
    for key in by:
        if not any(key in run.config for run in finished):
            known = {key for run in finished for key in run.config}
            raise CompareError(f"--by {key}: no run has this key{did_you_mean(key, known)}")
    keys = tuple(dict.fromkeys(by)) or differing_keys([run.config for run in finished])
    groups, left_out = _group(finished, keys)
    columns = _columns(finished, metrics)
    column = _sort_column(sort, columns)
    if sort != "name":
        groups.sort(key=lambda group: getattr(group.spread(column), "mean", float("inf")))
    return Comparison(
        keys=keys,
        groups=tuple(groups),
        baseline=_choose_baseline(groups, keys, baseline),
        runs=tuple(left_out.get(run.folder, run) for run in runs),
        columns=columns,
        sorted_by=column,
        metrics=tuple(metrics),
    )


def name_archives(runs: Sequence[Run]) -> list[Run]:
    """The runs, without the name of the archive in their columns if all were measured on the same official files."""
    archive = re.compile(rf"(?<={SOURCES['files']})( \(.* [0-9a-f]{{8}}\))?")
    found = {match[0] for run in runs for name in run.cells if (match := archive.search(name))}
    if len(found) != 1:
        return list(runs)

    def short(columns: Mapping[str, Any]) -> dict[str, Any]:
        return {archive.sub("", name, count=1): value for name, value in columns.items()}

    return [replace(run, figures=short(run.figures), cells=short(run.cells)) for run in runs]


def _group(finished: Sequence[Run], keys: Sequence[str]) -> tuple[list[Group], dict[Path, Run]]:
    """Groups in the natural order of their values, and by folder the duplicates with their problem."""
    members: dict[tuple[str, ...], list[Run]] = {}
    for run in finished:
        members.setdefault(tuple(value_text(run.config, key) for key in keys), []).append(run)
    left_out: dict[Path, Run] = {}
    for values, together in members.items():
        repeats = find_repeats(together)
        left_out |= {
            run.folder: replace(run, is_finished=False, problem=repeats[run.folder])
            for run in together
            if run.folder in repeats
        }
        kept = [run for run in together if run.folder not in repeats]
        members[values] = sorted(kept, key=lambda run: run.seed)
        for one, other in pairwise(members[values]):
            if one.seed == other.seed:
                raise CompareError(
                    f"seed {one.seed} twice in a group: {one.folder} and {other.folder} differ in no compared "
                    "key; leave one out, or separate them with --by KEY"
                )
    ordered = sorted(members, key=lambda values: [natural(value) for value in values])
    short = [short_numbers(values) for values in zip(*ordered, strict=True)]
    groups = []
    for values in ordered:
        shown = tuple(texts[value] for texts, value in zip(short, values, strict=True))
        groups.append(Group(values, shown, short_label(keys, shown), tuple(members[values])))
    return groups, left_out


def _columns(runs: Sequence[Run], metrics: Sequence[str]) -> tuple[str, ...]:
    """The test error, then the mCEs with official files first, then the robust accuracies, then the metrics asked for.

    Raises CompareError for a metric that no run has.
    """
    names = dict.fromkeys(name for run in runs for name in sorted(run.figures))
    order = [TEST_ERROR, *(f"{MCE}{source}, %" for source in SOURCES.values())]
    headline = [name for name in names if name.startswith((f"{TEST}, ", MCE, ROBUST))]
    headline.sort(
        key=lambda name: (
            name.startswith(ROBUST),
            order.index(name) if name in order else len(order),
            natural(name),
        )
    )
    for metric in metrics:
        found = _of_metric(metric, names)
        if not found:
            known = {name.partition(", ")[0] for name in names if "/" in name}
            raise CompareError(
                f"--metrics {metric}: no finished run's summary has it{did_you_mean(metric, known)}"
            )
        headline += found
    return tuple(dict.fromkeys(headline))


def _of_metric(metric: str, columns: Iterable[str]) -> list[str]:
    """The columns of a metric: a metric under corruption has one for each source."""
    return [name for name in columns if name == metric or name.startswith(f"{metric}, ")]


def _sort_column(sort: str, columns: Sequence[str]) -> str:
    """The first column that `sort` names, or else the first column; empty if there are no columns."""
    prefix = {"test": TEST_ERROR, "mce": MCE, "name": MCE}.get(sort)
    wanted = [name for name in columns if name.startswith(prefix)] if prefix else _of_metric(sort, columns)
    if not wanted and prefix is None:
        raise CompareError(f"--sort {sort}: choose mce, test, name or one of --metrics")
    return (*wanted, *columns, "")[0]


def _choose_baseline(groups: Sequence[Group], keys: Sequence[str], baseline: Sequence[str]) -> Group:
    chosen = list(groups)
    for text in baseline:
        key, _, value = text.partition("=")
        if key not in keys:
            raise CompareError(f"--baseline {text}: the groups differ by {', '.join(keys) or 'nothing'}")
        place = keys.index(key)
        known = dict.fromkeys(group.values[place] for group in chosen)
        chosen = [group for group in chosen if group.values[place] == value]
        if not chosen:
            nearest = difflib.get_close_matches(value, known, n=MAX_NAMED, cutoff=0.0)
            more = f" and {len(known) - MAX_NAMED} more" if len(known) > MAX_NAMED else ""
            raise CompareError(f"--baseline {text}: no group matches; {key} is {', '.join(nearest)}{more}")
    if baseline and len(chosen) > 1:
        pairs = zip(keys, chosen[0].values, chosen[1].values, strict=True)
        example = " ".join(f"{key}={value}" for key, value, other in pairs if value != other)
        raise CompareError(
            f"--baseline {' '.join(baseline)}: {len(chosen)} groups match; add KEY=VALUE, such as {example}"
        )
    return chosen[0]


def paired_difference(values: Mapping[int, float], *, baseline: Mapping[int, float]) -> Difference:
    """Mean of values - baseline over common seeds, with Student's t interval for paired samples.

    The interval covers the true mean in 95 % of comparisons, for any number of pairs from `MIN_PAIRS` on, if the
    differences are about normal. A bootstrap would cover it in 74 % with three pairs and in 85 % with five.
    Source: Student 1908, The Probable Error of a Mean.
    """
    from scipy.special import stdtrit

    seeds = sorted(values.keys() & baseline.keys())
    if not seeds:
        return Difference(None, None, 0)
    differences = [values[seed] - baseline[seed] for seed in seeds]
    mean, interval = statistics.fmean(differences), None
    if len(seeds) >= MIN_PAIRS:
        standard_error = statistics.stdev(differences) / math.sqrt(len(seeds))
        half_width = float(stdtrit(len(seeds) - 1, 0.975)) * standard_error
        interval = (mean - half_width, mean + half_width)
    return Difference(mean, interval, len(seeds))
