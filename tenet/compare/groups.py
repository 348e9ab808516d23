"""Groups of runs that differ only in the seed, their figures, and paired differences between groups."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from tenet.compare.choose import check_key, name_nearest
from tenet.compare.columns import HEADLINES, choose_columns, rank, sort_column
from tenet.compare.evaluations import SOURCES
from tenet.compare.keys import ABSENT, differing_keys, natural, short_label, short_numbers, value_text
from tenet.compare.runs import CompareError, Run, find_repeats, leave_out_set_aside
from tenet.compare.spread import Difference, Spread, paired_difference, spread_of

MAX_DRAWN = 7  # groups in charts and heatmaps: more lines cannot be told apart


@dataclass(frozen=True)
class Group:
    """Runs with the same values of the comparison's keys.

    values: one text for each key. short_values: the same with numbers of four significant digits.
    """

    values: tuple[str, ...]
    short_values: tuple[str, ...]
    label: str
    runs: tuple[Run, ...]

    @property
    def overlaps(self) -> list[str]:
        """The benchmark's corruptions that the network has seen in the training of any run of the group."""
        return sorted({name for run in self.runs for name in run.overlaps})

    def by_seed(self, column: str) -> dict[int, float]:
        return {run.seed: run.figures[column] for run in self.runs if column in run.figures}

    def spread(self, column: str) -> Spread | None:
        """None if no run of the group has the figure."""
        return spread_of(list(self.by_seed(column).values()))


@dataclass(frozen=True)
class Comparison:
    """Groups of runs on one data set, and what is shown of them.

    dataset: its name. keys: dotted keys by which the groups differ. groups: in the order of their mean in the column
    `sorted_by`. baselines: the groups that others are compared with: each group with the one that has the same other
    settings. baseline_keys: the keys that choose them. runs: all runs, with their problems. columns: names of figures.
    metrics: the columns that were asked for by name.
    """

    dataset: str
    keys: tuple[str, ...]
    groups: tuple[Group, ...]
    baselines: tuple[Group, ...]
    runs: tuple[Run, ...]
    columns: tuple[str, ...]
    sorted_by: str
    metrics: tuple[str, ...] = ()
    baseline_keys: tuple[str, ...] = ()

    @property
    def drawn(self) -> list[Group]:
        """The groups in charts and heatmaps: the first ones and their baselines."""
        drawn: list[Group] = []
        for group in self.groups:
            new = [each for each in (group, self.baseline_of(group)) if each and each not in drawn]
            if len(drawn) + len(new) > MAX_DRAWN:
                break
            drawn += new
        return [group for group in self.groups if group in drawn]

    @property
    def members(self) -> list[Run]:
        return [run for group in self.groups for run in group.runs]

    @property
    def problems(self) -> list[Run]:
        return [run for run in self.runs if run.problem]

    @property
    def mixed_keys(self) -> list[str]:
        """Keys that differ within a group, because the user's choice of keys leaves them out."""
        return sorted(
            {key for group in self.groups for key in differing_keys([r.config for r in group.runs])}
        )

    @property
    def baseline_label(self) -> str:
        if len(self.baselines) == 1:
            return self.baselines[0].label
        values = [self.baselines[0].short_values[self.keys.index(key)] for key in self.baseline_keys]
        return f"{short_label(self.baseline_keys, values)} with the same other settings"

    def baseline_of(self, group: Group) -> Group | None:
        """What the group is compared with: the baseline, or that of several which has the same other settings, as far as
        it has them. None for a baseline, and if there is no such one."""
        if group in self.baselines or len(self.baselines) == 1:
            return None if group in self.baselines else self.baselines[0]
        places = [place for place, key in enumerate(self.keys) if key not in self.baseline_keys]
        same = [
            base
            for base in self.baselines
            if all(base.values[place] in (ABSENT, group.values[place]) for place in places)
        ]
        return same[0] if len(same) == 1 else None

    def difference(self, group: Group, column: str) -> Difference:
        """Without pairs if the group has no baseline."""
        baseline = self.baseline_of(group)
        return paired_difference(group.by_seed(column), baseline=baseline.by_seed(column) if baseline else {})


def compare(
    runs: Sequence[Run],
    *,
    dataset: str = "",
    by: Sequence[str] = (),
    columns: Sequence[str] = (),
    metrics: Sequence[str] = (),
    sort: str = "mce",
    baseline: Sequence[str] = (),
) -> Comparison:
    """Group the finished runs by the keys that differ, or by those in `by`.

    dataset: the name of their data set, for titles. columns, metrics: see `choose_columns`. sort: see `sort_column`.
    baseline: KEY=VALUE texts that select one group, or one for each of the other settings; the first group by default.
    Raises CompareError for unknown keys or figures, without a finished run, if a group has a seed twice, or
    if the baselines are no groups or leave it open which is meant.
    """
    runs = name_archives(leave_out_set_aside(runs))
    finished = [run for run in runs if run.is_finished]
    if not finished:
        listed = "; ".join(f"{run.folder}: {run.problem}" for run in runs[:3])
        more = f"; and {len(runs) - 3} more" if len(runs) > 3 else ""
        raise CompareError(f"no finished run to compare ({listed}{more})")
    for key in by:
        check_key(key, (run.config for run in finished), option="--group-by")
    keys = tuple(dict.fromkeys(by)) or differing_keys([run.config for run in finished])
    groups, left_out = _group(finished, keys)
    shown = choose_columns(finished, chosen=columns, metrics=metrics)
    column = sort_column(sort, shown)
    if sort != "name":
        groups.sort(key=lambda group: rank(group.spread(column), column))
    comparison = Comparison(
        dataset=dataset,
        keys=keys,
        groups=tuple(groups),
        baselines=_choose_baselines(groups, keys, baseline),
        baseline_keys=tuple(text.partition("=")[0] for text in baseline),
        runs=tuple(left_out.get(run.folder, run) for run in runs),
        columns=shown,
        sorted_by=column,
        metrics=tuple(name for name in (*columns, *metrics) if name not in HEADLINES),
    )
    if len(found := comparison.baselines) > 1 and not any(map(comparison.baseline_of, groups)):
        pairs = zip(keys, found[0].values, found[1].values, strict=True)
        example = " ".join(f"{key}={value}" for key, value, other in pairs if value != other)
        raise CompareError(
            f"--baseline {' '.join(baseline)}: {len(found)} groups match; add KEY=VALUE, such as {example}"
        )
    return comparison


def name_archives(runs: Sequence[Run]) -> list[Run]:
    """The runs; if all were measured on the same official files, their columns do not name the archive."""
    archive = re.compile(rf"(?<={SOURCES['files']})( \(.* [0-9a-f]{{8}}\))?")
    found = {match[0] for run in runs for name in run.cells if (match := archive.search(name))}
    if len(found) != 1:
        return list(runs)

    def short(columns: Mapping[str, Any]) -> dict[str, Any]:
        return {archive.sub("", name, count=1): value for name, value in columns.items()}

    return [replace(run, figures=short(run.figures), cells=short(run.cells)) for run in runs]


def _group(finished: Sequence[Run], keys: Sequence[str]) -> tuple[list[Group], dict[Path, Run]]:
    """Groups in the natural order of their values; and folder -> run, with its problem, for duplicates."""
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
                    "key; leave one out, or separate them with --group-by KEY"
                )
    ordered = sorted(members, key=lambda values: [natural(value) for value in values])
    short = [short_numbers(values) for values in zip(*ordered, strict=True)]
    groups = []
    for values in ordered:
        shown = tuple(texts[value] for texts, value in zip(short, values, strict=True))
        groups.append(Group(values, shown, short_label(keys, shown), tuple(members[values])))
    return groups, left_out


def _choose_baselines(
    groups: Sequence[Group], keys: Sequence[str], baseline: Sequence[str]
) -> tuple[Group, ...]:
    chosen = list(groups)
    for text in baseline:
        key, _, value = text.partition("=")
        if key not in keys:
            raise CompareError(f"--baseline {text}: the groups differ by {', '.join(keys) or 'nothing'}")
        place = keys.index(key)
        known = [group.values[place] for group in chosen]
        chosen = [group for group in chosen if group.values[place] == value]
        if not chosen:
            raise CompareError(f"--baseline {text}: no group matches; {key} is {name_nearest(value, known)}")
    return tuple(chosen) if baseline else (chosen[0],)
