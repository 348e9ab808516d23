"""Curves over training steps: read from metrics files of any length and averaged over seeds."""

import json
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tenet.compare.spread import interval_of_mean
from tenet.files.plain import check_plain
from tenet.run.metrics_file import MAX_LINE_BYTES

MAX_POINTS = 300  # per curve: more than a chart can show
TRAINING = ("test/error_pct", "validation/error_pct", "train/error_pct", "train/loss")
# Patterns, because parsing every line as JSON is slower.
STEP = re.compile(rb'"step"\s*:\s*(\d{1,18})\s*[,}]')
NUMBER = rb"\s*:\s*(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*[,}]"


class Point(NamedTuple):
    """low, high: Student's 95 % interval of the mean over seeds; for two seeds the values themselves, for one its value."""

    step: int
    mean: float
    low: float
    high: float


class _Curve:
    """The values of one metric by step, thinned while they are read.

    Only steps that are multiples of a power of two are kept, so that seeds have steps in common; and the last step.
    """

    def __init__(self, metric: str) -> None:
        self.pattern = re.compile(re.escape(json.dumps(metric).encode()) + NUMBER)
        self.values: dict[int, float] = {}
        self.last: dict[int, float] = {}
        self._every = 1

    def read(self, step: int, line: bytes) -> None:
        found = self.pattern.search(line)
        if found and math.isfinite(value := float(found[1])):
            self.last = {step: value}
            if step % self._every == 0:
                self.values[step] = value
        while len(self.values) > MAX_POINTS:
            self._every *= 2
            self.values = {step: value for step, value in self.values.items() if step % self._every == 0}


def read_curves(path: Path, metrics: Sequence[str] = TRAINING) -> dict[str, dict[int, float]]:
    """Values by metric and step, about `MAX_POINTS` of each at most; empty if there is no readable file."""
    curves = {metric: _Curve(metric) for metric in metrics}
    try:
        check_plain(path)
        with path.open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES):
                if found := STEP.search(line):
                    for curve in curves.values():
                        curve.read(int(found[1]), line)
    except OSError:
        return {}
    return {metric: curve.values | curve.last for metric, curve in curves.items() if curve.last}


def mean_curve(seeds: Sequence[Mapping[int, float]]) -> list[Point]:
    """Mean over seeds at each step that all of them have. seeds: values by step."""
    points = []
    for step in sorted(set(seeds[0]).intersection(*seeds[1:])) if seeds else ():
        values = [seed[step] for seed in seeds]
        low, high = interval_of_mean(values) or (min(values), max(values))
        points.append(Point(step, statistics.fmean(values), low, high))
    return points
