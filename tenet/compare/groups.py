"""Groups of runs that differ in nothing but the seed, their figures, and paired differences between them."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from tenet.compare.runs import SOURCES, TEST_ERROR, CompareError, Run

# What may differ between the runs of one experiment: how they are watched, and on what they run.
NO_PART_OF_THE_EXPERIMENT = (
    "seed",
    "resume",
    "tracking.",
    "dataset.root",
    "trainer.device",
    "trainer.evaluation_batch_size",
    "trainer.log_every_steps",
    "trainer.evaluate_every_epochs",
)
MIN_PAIRS = 3  # with fewer the resamples are too few different ones to tell of an interval
ABSENT = object()


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
    """keys: dotted, those by which the groups differ. groups: best first. baseline: one of them."""

    keys: tuple[str, ...]
    groups: tuple[Group, ...]
    baseline: Group
    runs: tuple[Run, ...]

    @cached_property
    def columns(self) -> list[str]:
        return columns_of([run for group in self.groups for run in group.runs])

    def label(self, group: Group) -> str:
        return label(self.keys, group.values)

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


def label(keys: Sequence[str], values: Sequence[str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in zip(keys, values, strict=True)) or "all runs"


def columns_of(runs: Sequence[Run]) -> list[str]:
    """The test error, then the mCEs, official files first."""
    order = [TEST_ERROR, *(f"mCE, {source}" for source in SOURCES.values())]
    names = sorted({name for run in runs for name in run.figures})
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def compare(
    runs: Sequence[Run], *, by: Sequence[str] = (), sort: str = "mce", baseline: Sequence[str] = ()
) -> Comparison:
    """Group the finished runs by the keys that differ, or by those given.

    sort: mce, test or name. baseline: KEY=VALUE texts that choose one group; without, the first.
    Raises CompareError for unknown keys, no finished run, a seed twice in a group, or a baseline that is
    not one group.
    """
    finished = [run for run in runs if run.is_finished]
    if not finished:
        listed = "; ".join(f"{run.folder}: {run.problem}" for run in runs)
        raise CompareError(f"no finished run to compare ({listed})")
    for key in by:
        if not any(key in run.config for run in finished):
            raise CompareError(f"--by {key}: no run has this key")
    keys = tuple(by) or differing_keys([run.config for run in finished])
    members: dict[tuple[str, ...], list[Run]] = {}
    for run in finished:
        members.setdefault(tuple(value_text(run.config, key) for key in keys), []).append(run)
    groups = [
        Group(values, tuple(sorted(members[values], key=lambda run: run.seed))) for values in sorted(members)
    ]
    for group in groups:
        _refuse_twice_the_same_seed(group)
    groups = _sorted(groups, sort)
    return Comparison(keys, tuple(groups), _choose_baseline(groups, keys, baseline), tuple(runs))


def differing_keys(configs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Keys whose values differ, but for those that only tell again which class was chosen: a key that every
    run of one `_target_` has, with one value, and no run of another."""
    keys = dict.fromkeys(key for config in configs for key in config)
    texts = {key: [value_text(config, key) for config in configs] for key in keys}
    kept = [
        key
        for key in keys
        if len(set(texts[key])) > 1
        and not any(
            key == out or (out[-1] == "." and key.startswith(out)) for out in NO_PART_OF_THE_EXPERIMENT
        )
    ]
    return tuple(key for key in kept if not _follows_from_target(key, texts))


def _follows_from_target(key: str, texts: Mapping[str, list[str]]) -> bool:
    target = f"{key.rpartition('.')[0]}._target_"
    if key == target or target not in texts:
        return False
    pairs = set(zip(texts[target], texts[key], strict=True))
    present = {text for text in texts[key] if text != "-"}
    return len(pairs) == len(set(texts[target])) and len(present) == 1


def value_text(config: Mapping[str, Any], key: str) -> str:
    """As people write it; a class without its module, `-` where there is no such key."""
    value = config.get(key, ABSENT)
    if value is ABSENT:
        return "-"
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 1.0 and 1 are the same setting
    if not isinstance(value, str):
        return json.dumps(value, default=str)
    return printable(value.rpartition(".")[2] if key.endswith("_target_") else value)


def printable(text: str) -> str:
    """Without control characters, which could do things to a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _refuse_twice_the_same_seed(group: Group) -> None:
    seen: dict[int, Run] = {}
    for run in group.runs:
        if run.seed in seen:
            raise CompareError(
                f"seed {run.seed} twice among runs that differ in nothing compared: {seen[run.seed].folder} "
                f"and {run.folder}; leave one out, or tell them apart with --by KEY"
            )
        seen[run.seed] = run


def _sorted(groups: Sequence[Group], sort: str) -> list[Group]:
    columns = columns_of([run for group in groups for run in group.runs])
    wanted = [name for name in columns if (name == TEST_ERROR) == (sort == "test")]
    if sort == "name" or not columns:
        return list(groups)
    column = (wanted or columns)[0]
    spreads = {group.values: group.spread(column) for group in groups}
    return sorted(groups, key=lambda group: getattr(spreads[group.values], "mean", float("inf")))


def _choose_baseline(groups: Sequence[Group], keys: Sequence[str], baseline: Sequence[str]) -> Group:
    chosen = list(groups)
    for text in baseline:
        key, _, value = text.partition("=")
        if key not in keys:
            raise CompareError(f"--baseline {text}: the groups differ by {', '.join(keys) or 'nothing'}")
        # A class may be given with its module too.
        short = value.rpartition(".")[2] if key.endswith("_target_") else value
        chosen = [group for group in chosen if group.values[keys.index(key)] == short]
    if not chosen or (baseline and len(chosen) > 1):
        labels = "; ".join(label(keys, group.values) for group in groups)
        raise CompareError(
            f"--baseline {' '.join(baseline)}: {len(chosen) or 'no'} groups are such; there are {labels}"
        )
    return chosen[0]


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
