"""Curves over training steps: read from metrics files of any length, averaged over seeds, drawn as SVG."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from tenet.files.json import number
from tenet.files.plain import check_plain
from tenet.run.metrics_file import MAX_LINE_BYTES

MAX_START = 40  # characters to a step's end
MAX_POINTS = 300  # of a curve: more than its picture can show
FEW_POINTS = 6  # with so few, bars tell the deviation, and not a band that would make up what is between
TRAINING = ("test/error_pct", "validation/error_pct", "train/error_pct", "train/loss")

# Okabe and Ito 2008: told apart also by those who see colours differently.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8a8a")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 440, 240, 44, 14, 10, 36
TICK_GAP = 26  # pixels, at least


class Point(NamedTuple):
    """deviation: over seeds; 0 for one seed."""

    step: int
    mean: float
    deviation: float


class _Curve:
    """Values by step, thinned while they come: of the steps, the multiples of a power of two, the same for
    every seed, so that curves of several seeds keep steps in common. The last stays too."""

    def __init__(self, metric: str) -> None:
        self.metric, self.mark = metric, json.dumps(metric).encode()
        self.values: dict[int, float] = {}
        self.last = b""
        self._every = 1

    def take(self, line: bytes, step: int) -> None:
        if step % self._every:
            self.last = line
            return
        self.last = b""
        self.add(line, step)
        while len(self.values) > MAX_POINTS:
            self._every *= 2
            self.values = {step: value for step, value in self.values.items() if step % self._every == 0}

    def add(self, line: bytes, step: int) -> None:
        value = number(_row(line).get(self.metric))
        if value is not None:
            self.values[step] = value


def read_curves(path: Path, metrics: Sequence[str] = TRAINING) -> dict[str, dict[int, float]]:
    """Values by metric and step, at most about `MAX_POINTS` of each; without a readable file, none.

    A line is parsed only where one of its values is kept: a million lines take seconds.
    """
    curves = [_Curve(metric) for metric in metrics]
    try:
        check_plain(path)
        with path.open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES):
                held = [curve for curve in curves if curve.mark in line]
                if held and (step := _step(line)) is not None:
                    for curve in held:
                        curve.take(line, step)
    except OSError:
        return {}
    for curve in curves:
        if curve.last and (step := _step(curve.last)) is not None:
            curve.add(curve.last, step)
    return {curve.metric: curve.values for curve in curves if curve.values}


def _step(line: bytes) -> int | None:
    """The step of a line, read off its start where it is written as train.py writes it."""
    start, end = b'{"step": ', line.find(b",")
    if line.startswith(start) and line[len(start) : end].isdigit() and end < MAX_START:
        return int(line[len(start) : end])
    step = _row(line).get("step")
    return step if type(step) is int and step.bit_length() <= 64 else None


def _row(line: bytes) -> Mapping[str, object]:
    """Nothing for a line that a crash tore."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def mean_curve(seeds: Sequence[Mapping[int, float]]) -> list[Point]:
    """Mean over seeds at each step that all of them have; seeds: values by step."""
    if not seeds:
        return []
    common = sorted(set(seeds[0]).intersection(*seeds[1:]))
    points = []
    for step in common:
        values = [seed[step] for seed in seeds]
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        points.append(Point(step, statistics.fmean(values), deviation))
    return points


class _Frame(NamedTuple):
    """From values to pixels. is_root: the vertical axis is a square root, which opens up what is near zero."""

    first: int | float
    last: int | float
    top: float
    is_root: bool

    def x(self, step: int | float) -> float:
        share = (step - self.first) / ((self.last - self.first) or 1)
        return LEFT + (WIDTH - LEFT - RIGHT) * share

    def y(self, value: int | float) -> float:
        share = min(max(value / self.top, 0.0), 1.0)
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (math.sqrt(share) if self.is_root else share))

    def at(self, step: int | float, value: int | float, *, shift: float = 0.0) -> str:
        return f"{self.x(step) + shift:.1f} {self.y(value):.1f}"


def curves_svg(
    curves: Sequence[Sequence[Point]], *, title: str, along: str = "step", is_root: bool = True
) -> str:
    """One line for each group, in the order of COLOURS and no more than these, with its deviation; empty if
    there are no points.

    along: what the horizontal axis counts.
    """
    points = [point for curve in curves for point in curve]
    if not points:
        return ""
    first, last = min(point.step for point in points), max(point.step for point in points)
    low, high = (0, last) if along == "step" else (first - 0.5, last + 0.5)
    top = max(point.mean + point.deviation for point in points)
    frame = _Frame(low, high, top if top > 0 else 1.0, is_root)
    lines = [
        _bars(curve, frame, index, len(curves)) if len(curve) <= FEW_POINTS else _band(curve, frame, index)
        for index, curve in enumerate(curves)
        if curve
    ]
    name = (
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(along)}</text>'
    )
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
    drawn = "".join([*_axes(frame), name, *lines])
    return f"<figure><figcaption>{escape(title)}</figcaption>{head}{drawn}</svg></figure>"


def _axes(frame: _Frame) -> list[str]:
    parts = []
    for value in _value_ticks(frame):
        height = f"{frame.y(value):.1f}"
        parts.append(f'<path class="grid" d="M{LEFT} {height}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{height}" text-anchor="end" dy="4">{value:g}</text>')
    for step in _round_numbers(frame.first, frame.last, 5):
        parts.append(
            f'<text x="{frame.x(step):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{step:,.0f}</text>'
        )
    return parts


def _value_ticks(frame: _Frame) -> list[float]:
    if not frame.is_root:
        return _round_numbers(0, frame.top, 5)
    ticks: list[float] = []
    exponent = math.floor(math.log10(frame.top))
    for power in (exponent, exponent - 1, exponent - 2):
        for digit in (5, 2, 1):
            value = digit * 10.0**power
            if value <= frame.top and (not ticks or frame.y(value) - frame.y(ticks[-1]) >= TICK_GAP):
                ticks.append(value)
    return [tick for tick in ticks if frame.y(0) - frame.y(tick) >= TICK_GAP] + [0.0]


def _round_numbers(low: int | float, high: int | float, count: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, about `count` of them, from low to high."""
    rough = max(high - low, 1e-12) / count
    power = 10.0 ** math.floor(math.log10(rough))
    every = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough * (1 - 1e-9))
    start = math.ceil(low / every - 1e-9)
    return [index * every for index in range(start, math.floor(high / every + 1e-9) + 1)]


def _band(curve: Sequence[Point], frame: _Frame, index: int) -> str:
    upper = [frame.at(point.step, point.mean + point.deviation) for point in curve]
    lower = [frame.at(point.step, point.mean - point.deviation) for point in reversed(curve)]
    band = f'<path d="M{"L".join([*upper, *lower])}Z" fill="{COLOURS[index]}" fill-opacity="0.18"/>'
    return band + _line([frame.at(point.step, point.mean) for point in curve], index)


def _bars(curve: Sequence[Point], frame: _Frame, index: int, count: int) -> str:
    shift = 3.0 * (index - (count - 1) / 2)  # beside one another, not one upon the other
    parts = [_line([frame.at(point.step, point.mean, shift=shift) for point in curve], index)]
    for point in curve:
        low = frame.at(point.step, point.mean - point.deviation, shift=shift)
        high = frame.at(point.step, point.mean + point.deviation, shift=shift)
        x, y = frame.at(point.step, point.mean, shift=shift).split()
        parts.append(f'<path class="line" d="M{low}L{high}" stroke="{COLOURS[index]}"/>')
        parts.append(f'<circle cx="{x}" cy="{y}" r="2.6" fill="{COLOURS[index]}"/>')
    return "".join(parts)


def _line(places: Sequence[str], index: int) -> str:
    return f'<path class="line" d="M{"L".join(places)}" stroke="{COLOURS[index]}"/>'
