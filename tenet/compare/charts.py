"""Pictures of a comparison without libraries: training curves as SVG, corruption heatmaps as tables."""

import math
import statistics
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from tenet.compare.groups import Group
from tenet.compare.runs import Run
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES
from tenet.metrics_file import read_metrics

# Okabe and Ito 2008: told apart also by those who see colours differently. Past seven, the lines are dashed.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 440, 240, 44, 10, 10, 28
MAX_POINTS = 300  # of a curve: more than the picture can show

CURVES = ("test/error_pct", "validation/error_pct", "train/error_pct", "train/loss")


class Point(NamedTuple):
    """deviation: over seeds; 0 for one seed."""

    step: int
    mean: float
    deviation: float


def colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def metrics_of(run: Run) -> list[dict[str, Any]]:
    path = run.folder / "metrics.jsonl"
    return read_metrics(path) if path.is_file() else []


def mean_curve(series: Sequence[Sequence[Mapping[str, Any]]], metric: str) -> list[Point]:
    """Mean over seeds at each step that all of them have; series: the metrics of each seed."""
    by_step: list[dict[int, float]] = []
    for rows in series:
        values = {int(row["step"]): row.get(metric) for row in rows if metric in row}
        finite = {step: v for step, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}
        if finite:
            by_step.append(finite)
    if not by_step:
        return []
    steps = sorted(set.intersection(*(set(values) for values in by_step)))
    every = max(1, len(steps) // MAX_POINTS)
    points = []
    for step in [step for index, step in enumerate(reversed(steps)) if index % every == 0][::-1]:
        values_here = [values[step] for values in by_step]
        deviation = statistics.stdev(values_here) if len(values_here) > 1 else 0.0
        points.append(Point(step, statistics.fmean(values_here), deviation))
    return points


def curves_svg(curves: Sequence[Sequence[Point]], *, title: str) -> str:
    """One line for each group, in the order of the colours, with a band of one deviation; empty if none."""
    points = [point for curve in curves for point in curve]
    if not points:
        return ""
    last = max(point.step for point in points) or 1
    top = max(point.mean + point.deviation for point in points) or 1.0

    def x(step: int | float) -> str:
        return f"{LEFT + (WIDTH - LEFT - RIGHT) * step / last:.1f}"

    def y(value: int | float) -> str:
        # A square root: what tells runs apart is at the end of training, near zero.
        share = math.sqrt(min(max(value / top, 0), 1))
        return f"{TOP + (HEIGHT - TOP - BOTTOM) * (1 - share):.1f}"

    parts = []
    for share in (0, 0.5, 1):
        value = share**2 * top
        height = y(value)
        parts.append(f'<path class="grid" d="M{LEFT} {height}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{height}" text-anchor="end" dy="4">{value:.3g}</text>')
        anchor = "end" if share == 1 else "middle"
        step = f"{share * last:.0f}" + (" steps" if share == 1 else "")
        parts.append(f'<text x="{x(share * last)}" y="{HEIGHT - 8}" text-anchor="{anchor}">{step}</text>')
    for index, curve in enumerate(curves):
        if curve:
            upper = [f"{x(point.step)} {y(point.mean + point.deviation)}" for point in curve]
            lower = [f"{x(point.step)} {y(point.mean - point.deviation)}" for point in reversed(curve)]
            band = "L".join([*upper, *lower])
            line = "L".join(f"{x(point.step)} {y(point.mean)}" for point in curve)
            dash = ' stroke-dasharray="5 3"' if index >= len(COLOURS) else ""
            parts.append(f'<path d="M{band}Z" fill="{colour(index)}" fill-opacity="0.18"/>')
            parts.append(f'<path class="line" d="M{line}" stroke="{colour(index)}"{dash}/>')
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
    return f"<figure><figcaption>{escape(title)}</figcaption>{head}{''.join(parts)}</svg></figure>"


def mean_cells(group: Group, column: str) -> dict[str, dict[int, float]]:
    """Mean over seeds of each cell that every evaluated run of the group has; the extra corruptions last."""
    tables = [run.cells[column] for run in group.runs if column in run.cells]
    means: dict[str, dict[int, float]] = {}
    for name in CORRUPTIONS + EXTRA_CORRUPTIONS:
        for severity in SEVERITIES:
            values = [table.get(name, {}).get(severity) for table in tables]
            known = [value for value in values if value is not None]
            if known and len(known) == len(values):
                means.setdefault(name, {})[severity] = statistics.fmean(known)
    return means


def heatmap(cells: dict[str, dict[int, float]], *, title: str, top: float) -> str:
    """top: the error that gets the darkest colour, one for all heatmaps that are to be compared."""
    if not cells:
        return ""
    head = "".join(f"<th>{severity}</th>" for severity in SEVERITIES)
    rows = []
    for name, by_severity in cells.items():
        extra = ' class="extra"' if name in EXTRA_CORRUPTIONS else ""
        boxes = "".join(_box(by_severity.get(severity), top) for severity in SEVERITIES)
        rows.append(f"<tr{extra}><th>{escape(name)}</th>{boxes}</tr>")
    caption = f"<caption>{escape(title)}</caption>"
    return f'<table class="heat">{caption}<tr><th></th>{head}</tr>{"".join(rows)}</table>'


def _box(error: float | None, top: float) -> str:
    if error is None:
        return "<td></td>"
    share = min(math.sqrt(error / top), 1) if top > 0 else 0.0  # the root: small errors differ visibly too
    ink = "#fff" if share > 0.7 else "#111"
    return f'<td style="background:hsl(24 85% {97 - 57 * share:.0f}%);color:{ink}">{error:.1f}</td>'
