"""Groups of runs that differ in nothing but the seed, their figures, and paired differences between them."""

import difflib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tenet.compare.keys import (
    differing_keys,
    label,
    natural,
    short_label,
    short_numbers,
    value_text,
)
from tenet.compare.repeats import left_out_for_another
from tenet.compare.runs import MCE, SOURCES, TEST_ERROR, CompareError, Run
from tenet.config.rules import did_you_mean

MAX_NAMED = 5  # values in a message
MIN_PAIRS = 3  # with fewer the resamples are too few different ones to tell of an interval


class Spread(NamedTuple):
    """Over seeds; deviation: of the sample (n - 1), None for one seed."""

    mean: float
    deviation: float | None
    seeds: int


class Difference(NamedTuple):
    """Mean difference over common seeds, and its 95 % interval; None where there are too few pairs."""

    mean: float | None
    interval: tuple[float, float] | None
    pairs: int


@dataclass(frozen=True)
class Group:
    """values: texts, one for each of the comparison's keys."""

    values: tuple[str, ...]
    runs: tuple[Run, ...]

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
    """keys: dotted, those by which the groups differ. groups: lowest figure in the column `sorted_by` first.
    baseline: one of them. columns: names of figures. metrics: those of them that were asked for by name."""

    keys: tuple[str, ...]
    groups: tuple[Group, ...]
    baseline: Group
    runs: tuple[Run, ...]
    columns: tuple[str, ...]
    sorted_by: str
    metrics: tuple[str, ...] = ()

    @cached_property
    def _shown(self) -> list[dict[str, str]]:
        """For each key, what its values look like in a table."""
        return [
            short_numbers(values) for values in zip(*(group.values for group in self.groups), strict=True)
        ]

    def shown(self, group: Group) -> tuple[str, ...]:
        """The group's values as people read them, numbers to four significant digits."""
        return tuple(texts[value] for texts, value in zip(self._shown, group.values, strict=True))

    def label(self, group: Group) -> str:
        return short_label(self.keys, self.shown(group))

    @property
    def problems(self) -> list[Run]:
        return [run for run in self.runs if run.problem]

    @property
    def mixed_keys(self) -> list[str]:
        """Keys that differ between runs of one group, where `by` told only some of them apart."""
        return sorted(
            {key for group in self.groups for key in differing_keys([r.config for r in group.runs])}
        )

    def difference(self, group: Group, column: str) -> Difference:
        generator = np.random.default_rng(0)  # the same runs always print the same interval
        return paired_difference(
            group.by_seed(column), baseline=self.baseline.by_seed(column), generator=generator
        )


def columns_of(runs: Sequence[Run], metrics: Sequence[str] = ()) -> tuple[str, ...]:
    """The test error, then the mCEs, official files first, then the metrics asked for.

    Raises CompareError for a metric that no run has.
    """
    order = [TEST_ERROR, *(f"{MCE}{source}, %" for source in SOURCES.values())]
    names = dict.fromkeys(name for run in runs for name in sorted(run.figures))
    headline = [name for name in names if name == TEST_ERROR or name.startswith(MCE)]
    headline.sort(key=lambda name: (order.index(name) if name in order else len(order), name))
    asked = []
    for metric in metrics:
        # Measured under corruptions, it has a column for each source of them.
        found = [name for name in names if name == metric or name.startswith(f"{metric}, ")]
        if not found:
            known = {name.partition(", ")[0] for name in names if "/" in name}
            raise CompareError(
                f"--metrics {metric}: no finished run's summary has it{did_you_mean(metric, known)}"
            )
        asked += found
    return tuple(dict.fromkeys([*headline, *asked]))


def compare(
    runs: Sequence[Run],
    *,
    by: Sequence[str] = (),
    metrics: Sequence[str] = (),
    sort: str = "mce",
    baseline: Sequence[str] = (),
) -> Comparison:
    """Group the finished runs by the keys that differ, or by those given.

    metrics: more columns, by the names in summary.json. sort: mce, test, name, or one of the metrics.
    baseline: KEY=VALUE texts that choose one group; without, the first.
    Raises CompareError for unknown keys or metrics, no finished run, a seed twice in a group, or a baseline
    that is not one group.
    """
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
    groups, left_out = _grouped(finished, keys)
    columns = columns_of(finished, metrics)
    column = _column_to_sort_by(sort, columns)
    if sort != "name":
        groups.sort(key=lambda group: getattr(group.spread(column), "mean", float("inf")))
    told = tuple(left_out.get(run.folder, run) for run in runs)
    return Comparison(
        keys, tuple(groups), _choose_baseline(groups, keys, baseline), told, columns, column, tuple(metrics)
    )


def _grouped(finished: Sequence[Run], keys: Sequence[str]) -> tuple[list[Group], dict[Path, Run]]:
    """Groups in the natural order of their values, and by folder the runs that another one of the same
    configuration stands for, telling so."""
    members: dict[tuple[str, ...], list[Run]] = {}
    for run in finished:
        members.setdefault(tuple(value_text(run.config, key) for key in keys), []).append(run)
    left_out: dict[Path, Run] = {}
    for values, together in members.items():
        problems = left_out_for_another(together)
        for run in together:
            if run.folder in problems:
                left_out[run.folder] = replace(run, is_finished=False, problem=problems[run.folder])
        kept = [run for run in together if run.folder not in problems]
        members[values] = sorted(kept, key=lambda run: run.seed)
        _refuse_twice_the_same_seed(members[values])
    ordered = sorted(members, key=lambda values: [natural(value) for value in values])
    return [Group(values, tuple(members[values])) for values in ordered], left_out


def _refuse_twice_the_same_seed(runs: Sequence[Run]) -> None:
    seen: dict[int, Run] = {}
    for run in runs:
        if run.seed in seen:
            raise CompareError(
                f"seed {run.seed} twice among runs that differ in nothing compared: {seen[run.seed].folder} "
                f"and {run.folder}; leave one out, or tell them apart with --by KEY"
            )
        seen[run.seed] = run


def _column_to_sort_by(sort: str, columns: Sequence[str]) -> str:
    """The first column that `sort` names; where there is none, the first of all; empty without any figure."""
    if sort == "test":
        wanted = [name for name in columns if name == TEST_ERROR]
    elif sort in ("mce", "name"):
        wanted = [name for name in columns if name.startswith(MCE)]
    else:
        wanted = [name for name in columns if name == sort or name.startswith(f"{sort}, ")]
        if not wanted:
            raise CompareError(f"--sort {sort}: neither mce, test or name, nor one of --metrics")
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
            raise CompareError(
                f"--baseline {text}: no group is such{_nearest_value(key, value, list(known))}"
            )
    if baseline and len(chosen) > 1:
        differing = [key for index, key in enumerate(keys) if len({g.values[index] for g in chosen}) > 1]
        example = label(differing, [chosen[0].values[keys.index(key)] for key in differing])
        raise CompareError(
            f"--baseline {' '.join(baseline)}: {len(chosen)} groups are such; add KEY=VALUE, such as "
            f"{example.replace(', ', ' ')}"
        )
    return chosen[0]


def _nearest_value(key: str, value: str, known: Sequence[str]) -> str:
    """The values like it, or else the first ones."""
    if near := difflib.get_close_matches(value, known):
        return f"; did you mean {', '.join(f'{key}={text}' for text in near)}?"
    more = f" and {len(known) - MAX_NAMED} more" if len(known) > MAX_NAMED else ""
    return f"; {key} is one of {', '.join(known[:MAX_NAMED])}{more}"


def paired_difference(
    values: Mapping[int, float],
    *,
    baseline: Mapping[int, float],
    generator: np.random.Generator,
    resamples: int = 10_000,
) -> Difference:
    """values - baseline over the seeds that both have, with a percentile bootstrap interval over the seeds'
    differences. With few seeds such intervals are too narrow: they can't reach past the extremes seen."""
    seeds = sorted(values.keys() & baseline.keys())
    if not seeds:
        return Difference(None, None, 0)
    differences = np.array([values[seed] - baseline[seed] for seed in seeds])
    interval = None
    if len(seeds) >= MIN_PAIRS:
        drawn = generator.integers(len(seeds), size=(resamples, len(seeds)))
        low, high = np.quantile(differences[drawn].mean(axis=1), [0.025, 0.975])
        interval = (float(low), float(high))
    return Difference(float(differences.mean()), interval, len(seeds))
