"""Coloured tables: errors by corruption and severity, and one figure over two parameters."""

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from tenet.compare.evaluations import Cells
from tenet.compare.groups import Comparison, Group, Spread
from tenet.compare.keys import as_number, short_label
from tenet.compare.runs import CompareError
from tenet.compare.text import number_text, spread_text
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES
from tenet.errors import counted

MAX_SURFACES = 12


class TableCell(NamedTuple):
    """share: from 0 for no colour to 100 for the strongest. hint: shown under the mouse."""

    text: str
    share: int
    hint: str = ""
    is_best: bool = False


class Heatmap(NamedTuple):
    """rows: a name, and one cell for each column, or None for an empty one."""

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[TableCell | None]]]


def mean_cells(group: Group, column: str) -> Cells:
    """The mean over seeds of each cell that all evaluated runs of the group have; the extra corruptions come last."""
    tables = [run.cells[column] for run in group.runs if column in run.cells]
    means: Cells = {}
    for name in CORRUPTIONS + EXTRA_CORRUPTIONS:
        for severity in SEVERITIES:
            values = [cells[name][severity] for cells in tables if severity in cells.get(name, {})]
            if values and len(values) == len(tables):
                means.setdefault(name, {})[severity] = statistics.fmean(values)
    return means


def corruption_heatmaps(groups: Sequence[Group], column: str) -> list[Heatmap]:
    """One heatmap for each group with evaluated runs, with the means over the severities.

    The same colour means the same error in all of them: from the lowest of all, without colour, to the highest.
    """
    tables = [mean_cells(group, column) for group in groups]
    roots = [
        math.sqrt(max(error, 0.0)) for cells in tables for row in cells.values() for error in row.values()
    ]
    low, high = min(roots, default=0.0), max(roots, default=0.0)

    def cell(error: float | None) -> TableCell | None:
        if error is None:
            return None
        # The square root makes small errors differ visibly too.
        return TableCell(f"{error:.1f}", _share((math.sqrt(max(error, 0.0)) - low) / ((high - low) or 1.0)))

    return [
        Heatmap(
            title=group.label,
            columns=[*map(str, SEVERITIES), "mean"],
            rows=[
                (name, [cell(row.get(severity)) for severity in SEVERITIES] + [cell(_mean(row))])
                for name, row in cells.items()
            ],
        )
        for group, cells in zip(groups, tables, strict=True)
        if cells
    ]


def _mean(row: Mapping[int, float]) -> float | None:
    """Over the severities; None if one is missing."""
    return statistics.fmean(row.values()) if len(row) == len(SEVERITIES) else None


def _share(share: float) -> int:
    return round(100 * min(share, 1.0))


class Surface(NamedTuple):
    """One figure by the values of two keys. rest: the other keys and their values, which all cells share."""

    down: str
    across: str
    rest: str
    cells: dict[tuple[float, float], Spread]

    @property
    def is_grid(self) -> bool:
        """Whether both keys have at least two values, and more than half of the cells are filled."""
        rows, columns = (len(set(values)) for values in zip(*self.cells, strict=True))
        return min(rows, columns) > 1 and 2 * len(self.cells) > rows * columns


def find_surfaces(comparison: Comparison, chosen: Sequence[Sequence[str]] = ()) -> list[Surface]:
    """The surfaces of the `chosen` pairs of keys; by default of all pairs of numeric keys that make a grid.

    Groups that differ in further keys are never averaged: each setting of these keys has its own surface.
    Raises CompareError for a chosen key that is unknown or has no numbers.
    """
    numeric = [
        key
        for index, key in enumerate(comparison.keys)
        if len({as_number(group.values[index]) for group in comparison.groups} - {None}) > 1
    ]
    for key in (key for pair in chosen for key in pair if key not in numeric):
        known = ", ".join(numeric) or "none"
        raise CompareError(
            f"--surface {key}: the groups do not differ in numbers of this key; choose from {known}"
        )
    pairs = chosen or combinations(numeric, 2)
    found = [surface for down, across in pairs for surface in _surfaces_of(comparison, down, across)]
    return [surface for surface in found if chosen or surface.is_grid]


def _surfaces_of(comparison: Comparison, down: str, across: str) -> list[Surface]:
    found: dict[str, Surface] = {}
    for group in comparison.groups:
        values = dict(zip(comparison.keys, group.values, strict=True))
        row, column = as_number(values.pop(down)), as_number(values.pop(across))
        spread = group.spread(comparison.sorted_by)
        if row is not None and column is not None and spread is not None:
            rest = short_label(list(values), list(values.values())) if values else ""
            found.setdefault(rest, Surface(down, across, rest, {})).cells[row, column] = spread
    return list(found.values())


def surface_heatmaps(
    comparison: Comparison, chosen: Sequence[Sequence[str]] = ()
) -> tuple[list[Heatmap], str]:
    """The heatmaps of `find_surfaces`, at most `MAX_SURFACES` unless they were chosen, and a text about them."""
    found, column = find_surfaces(comparison, chosen), comparison.sorted_by
    shown = found if chosen else found[:MAX_SURFACES]
    means = [spread.mean for surface in shown for spread in surface.cells.values()]
    low, high = min(means, default=0.0), max(means, default=0.0)
    about = (
        f"{column}: mean ± sample deviation over seeds. The colour runs from {number_text(low, column=column)} "
        f"(faint) to {number_text(high, column=column)} (strong); the lowest of each table is framed."
    )
    if more := len(found) - len(shown):
        about += f" {more} more are not shown; choose with --surface."
    return [_surface_heatmap(surface, column=column, low=low, high=high) for surface in shown], about


def _surface_heatmap(surface: Surface, *, column: str, low: float, high: float) -> Heatmap:
    rows, columns = (sorted(set(values)) for values in zip(*surface.cells, strict=True))
    best = min(spread.mean for spread in surface.cells.values())

    def cell(row: float, place: float) -> TableCell | None:
        spread = surface.cells.get((row, place))
        if spread is None:
            return None
        share = (spread.mean - low) / (high - low) if high > low else 0.0
        text = spread_text(spread, column=column, runs=spread.seeds)
        return TableCell(text, _share(share), counted(spread.seeds, "seed"), is_best=spread.mean == best)

    return Heatmap(
        title=f"{surface.down} down, {surface.across} across{surface.rest and '; '}{surface.rest}",
        columns=[f"{value:g}" for value in columns],
        rows=[(f"{row:g}", [cell(row, place) for place in columns]) for row in rows],
    )
