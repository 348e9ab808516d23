"""Errors by corruption and severity, and one figure over two parameters, as coloured tables."""

import math
import statistics
from collections.abc import Sequence
from html import escape
from itertools import combinations
from typing import NamedTuple

from tenet.compare.groups import Comparison, Group, Spread
from tenet.compare.keys import as_number, short_label
from tenet.compare.runs import Cells, CompareError
from tenet.compare.text import spread_text
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES

MAX_SURFACES = 12


def mean_cells(group: Group, column: str) -> Cells:
    """Mean over seeds of each cell that every evaluated run of the group has; the extra corruptions last."""
    tables = [run.cells[column] for run in group.runs if column in run.cells]
    means: Cells = {}
    for name in CORRUPTIONS + EXTRA_CORRUPTIONS:
        for severity in SEVERITIES:
            values = [table.get(name, {}).get(severity) for table in tables]
            known = [value for value in values if value is not None]
            if known and len(known) == len(values):
                means.setdefault(name, {})[severity] = statistics.fmean(known)
    return means


def heatmap(cells: Cells, *, title: str, top: float) -> str:
    """top: the error that gets the strongest colour, one for all heatmaps that are to be compared."""
    if not cells:
        return ""
    head = "".join(f'<th scope="col">{severity}</th>' for severity in SEVERITIES)
    rows = []
    for name, by_severity in cells.items():
        extra = ' class="extra"' if name in EXTRA_CORRUPTIONS else ""
        errors = [by_severity.get(severity) for severity in SEVERITIES]
        # The root: small errors differ visibly too.
        boxes = [
            "<td></td>" if error is None else _box(f"{error:.1f}", math.sqrt(error / top) if top > 0 else 0.0)
            for error in errors
        ]
        rows.append(f'<tr{extra}><th scope="row">{escape(name)}</th>{"".join(boxes)}</tr>')
    return _table(title, f"<td></td>{head}", rows)


def _box(text: str, share: float, *, look: str = "", hint: str = "") -> str:
    """share: of the strongest colour, from 0 to 1."""
    looks = " ".join(filter(None, ["strong" if share > 0.8 else "", look]))
    marks = f' class="{looks}"' * bool(looks) + f' title="{escape(hint)}"' * bool(hint)
    return f'<td{marks} style="--share:{100 * min(max(share, 0.0), 1.0):.0f}%">{escape(text)}</td>'


def _table(title: str, head: str, rows: Sequence[str]) -> str:
    caption = f"<caption>{escape(title)}</caption>"
    return (
        f'<table class="heat">{caption}<thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )


class Surface(NamedTuple):
    """A figure by the values of two keys; rest: what the groups have in common of the other keys."""

    down: str
    across: str
    rest: str
    cells: dict[tuple[float, float], Spread]

    @property
    def is_grid(self) -> bool:
        """Two values or more either way, and more than half of the places filled."""
        rows, columns = (len(set(values)) for values in zip(*self.cells, strict=True))
        return min(rows, columns) > 1 and 2 * len(self.cells) > rows * columns


def find_surfaces(comparison: Comparison, chosen: Sequence[Sequence[str]] = ()) -> list[Surface]:
    """Of each pair of keys with numbers, where they make a grid; of the `chosen` pairs, whatever they make.

    Groups that differ in further keys are never averaged: each setting of those has a surface of its own.
    Raises CompareError for a chosen key that is none, or no number.
    """
    keys = comparison.keys
    numeric = [
        key
        for index, key in enumerate(keys)
        if len({as_number(group.values[index]) for group in comparison.groups} - {None}) > 1
    ]
    for key in {key for pair in chosen for key in pair} - set(numeric):
        raise CompareError(
            f"--surface {key}: the groups do not differ by numbers of it; they do by {', '.join(numeric) or 'none'}"
        )
    if chosen:
        return [surface for pair in chosen for surface in _surfaces_of(comparison, pair[0], pair[1])]
    pairs = combinations(numeric, 2)
    return [surface for pair in pairs for surface in _surfaces_of(comparison, *pair) if surface.is_grid]


def _surfaces_of(comparison: Comparison, down: str, across: str) -> list[Surface]:
    keys = comparison.keys
    others = [index for index, key in enumerate(keys) if key not in (down, across)]
    found: dict[str, Surface] = {}
    for group in comparison.groups:
        row, column = (as_number(group.values[keys.index(key)]) for key in (down, across))
        spread = group.spread(comparison.sorted_by)
        if row is not None and column is not None and spread is not None:
            rest = short_label([keys[i] for i in others], [group.values[i] for i in others]) if others else ""
            found.setdefault(rest, Surface(down, across, rest, {})).cells[row, column] = spread
    return list(found.values())


def surface_table(surface: Surface, *, column: str, low: float, high: float) -> str:
    """column: whose figures they are. low, high: those with the weakest and the strongest colour, of all surfaces."""
    rows, columns = (sorted(set(values)) for values in zip(*surface.cells, strict=True))
    best = min(spread.mean for spread in surface.cells.values())
    lines = []
    for row in rows:
        boxes = []
        for value in columns:
            spread = surface.cells.get((row, value))
            if spread is None:
                boxes.append("<td></td>")
                continue
            share = (spread.mean - low) / (high - low) if high > low else 0.0
            hint = f"{spread.seeds} seed{'s' if spread.seeds > 1 else ''}"
            look = "best" if spread.mean == best else ""
            boxes.append(
                _box(spread_text(spread, column=column, runs=spread.seeds), share, look=look, hint=hint)
            )
        lines.append(f'<tr><th scope="row">{row:g}</th>{"".join(boxes)}</tr>')
    head = "".join(f'<th scope="col">{value:g}</th>' for value in columns)
    title = f"{surface.down} down, {surface.across} across"
    return _table(f"{title}; {surface.rest}" if surface.rest else title, f"<td></td>{head}", lines)
