"""What a report measured, and the name of its file: no report takes the place of another measurement's."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count
from pathlib import Path
from typing import Any

from tenet.corruptions.names import SEVERITIES
from tenet.errors import ConfigError, printable
from tenet.evaluation.reports import CLEAN, cells_of, dataset_name, measured_of, path_name
from tenet.evaluation.suites.suite import Suite
from tenet.files.json import read_json
from tenet.files.weights import checksum

PLAIN_MARKS = ("files",)
"""Marks that the report of a run's own data may have: the official files are the other standard source."""
MAX_NAMED = 3  # corruptions or attacks in a file name
PART = "of a part of the benchmark"


@dataclass(frozen=True)
class Measurement:
    """The data, the source of the corruptions, the precision and the cells of one evaluation.

    place: the run folder, or the file of weights. weights_sha256: of the weights in it.
    dataset: its configuration. is_own_data: whether a run is evaluated on the test images that it was made for.
    is_run: whether `place` is a run folder. is_average: whether its averaged weights are evaluated.
    normalization: mean and std of the images. is_own_normalization: whether the network was trained with them, as far as
    that is known.
    """

    place: Path
    weights_sha256: str
    dataset: Mapping[str, Any]
    precision: str
    suites: Sequence[Suite]
    is_run: bool = False
    is_own_data: bool = False
    is_average: bool = False
    normalization: Sequence[Sequence[float]] = ()
    is_own_normalization: bool = True

    @cached_property
    def parts(self) -> dict[str, Any]:
        """Plain values by part: the precision, and the images of each suite."""
        parts = {
            "precision": self.precision,
            "is_average": self.is_average,
            "normalization": list(self.normalization),
            **{suite.name: dict(suite.measured()) for suite in self.suites},
        }
        return json.loads(json.dumps(parts))  # tuples become lists, as in the file

    @cached_property
    def cells(self) -> list[str]:
        return list(chain.from_iterable(suite.cell_names() for suite in self.suites))

    @property
    def marks(self) -> list[str]:
        """What distinguishes this measurement in the name of its report; none for a run's own, standard one."""
        data = [self._data_mark()] if self.is_run and not self.is_own_data else []
        precision = [self.precision] if self.precision != "fp32" else []
        average = ["ema"] if self.is_average else []
        normalization = (
            [] if self.is_own_normalization else [f"normalization-{_short(self.parts['normalization'])}"]
        )
        return [
            *data,
            *average,
            *normalization,
            *precision,
            *chain.from_iterable(suite.marks for suite in self.suites),
        ]

    @property
    def note(self) -> str:
        """What tells the figures from a run's own, in a line; empty if they are the run's own or belong to no run."""
        if not self.is_run or set(self.marks) <= {*PLAIN_MARKS, "part"}:
            return ""
        data = (
            "its own test images"
            if self.is_own_data
            else f"test images of {dataset_name(self.dataset)}, not its own"
        )
        if not self.is_own_normalization:
            data += ", normalised otherwise than in training"
        marks = list(chain.from_iterable(suite.marks for suite in self.suites))
        sources = [mark for mark in marks if mark != "part"]
        if not sources and any(cell.startswith("corruption/") for cell in self.cells):
            sources = ["generated"]
        details = [self.precision, *sources, *(["a part of the benchmark"] if "part" in marks else [])]
        what = "the run's averaged weights" if self.is_average else "the run"
        return printable(f"{what} on {data} ({', '.join(details)})")

    def differences(self, output: Path, *, asked: bool, is_complete: bool = True) -> list[str]:
        """What keeps the figures out of the run's summary; empty if they belong there.

        output: the report's file. asked: whether the user chose its name. is_complete: whether it holds the whole benchmark.
        """
        sources = {mark for suite in self.suites for mark in suite.marks} - {*PLAIN_MARKS, "part"}
        differences = {
            "of other test images than the run's": not self.is_own_data,
            "of its averaged weights": self.is_average,
            "of images normalised otherwise than in training": not self.is_own_normalization,
            f"in {self.precision}": self.precision != "fp32",
            f"of other corruptions than the standard ones ({', '.join(sorted(sources))})": bool(sources),
            PART: not is_complete or "part" in self.marks,
        }
        found = [what for what, is_so in differences.items() if is_so]
        has_own_name = asked or output.name in (path_name([]), path_name(PLAIN_MARKS))
        return found if found or has_own_name else [f"not those of {path_name([])}"]

    def content(self) -> dict[str, Any]:
        """For the JSON report."""
        return {
            "measured": {
                "dataset": dataset_name(self.dataset),
                "is_own_data": self.is_own_data,
                "is_own_normalization": self.is_own_normalization,
                **self.parts,
                "cells": self.cells,
            }
        }

    def find_path(self, path: Path, *, asked: bool) -> Path:
        """`path`, or a name with more marks if a report is there that this one may not replace.

        A report is replaced if it is of the same place, data, sources and precision, and if its weights have changed since
        or all its cells are measured again. Raises ConfigError if the user `asked` for a file that may not be replaced.
        """
        report = read_json(path)
        if self.may_replace(report):
            return path
        if asked:
            what = ", ".join(self._differing(report)) or "more cells"
            raise ConfigError(
                f"output={path} holds the report of another measurement ({what}); remove it, or choose another "
                "output=FILE.json"
            )
        last = [mark for mark in self.marks if mark == "part"]
        marks = [*(mark for mark in self.marks if mark != "part"), *self._distinguish(report)]
        names = chain([[*marks, *last]], ([*marks, str(number), *last] for number in count(2)))
        paths = (path.with_name(path_name(each)) for each in names)
        return next(each for each in paths if self.may_replace(read_json(each)))

    def may_replace(self, report: Mapping[str, Any]) -> bool:
        if not report:
            return True
        if self._differing(report):
            return False
        is_stale = report.get("weights_sha256", self.weights_sha256) != self.weights_sha256
        return is_stale or set(cells_of(report)) <= set(self.cells)

    def _differing(self, report: Mapping[str, Any]) -> list[str]:
        """The parts in which the report differs. Parts that only one of them has, or that are unknown, don't count."""
        known = measured_of(report, dataset=self.dataset)
        differing = [name for name, part in self.parts.items() if _differ(part, known.get(name, part))]
        path, known_sha256 = report.get("weights"), report.get("weights_sha256", self.weights_sha256)
        is_other_file = (
            not self.is_run and path is not None and Path(str(path)).resolve() != self.place.resolve()
        )
        return differing + ["weights"] * (is_other_file and known_sha256 != self.weights_sha256)

    def _distinguish(self, report: Mapping[str, Any]) -> list[str]:
        """Marks that tell this measurement from the one of the report."""
        known = measured_of(report, dataset=self.dataset)
        marks: list[str] = []
        for name in self._differing(report):
            if name == CLEAN:
                marks.append(self._data_mark())
            elif name == "weights":
                marks.append(_slug(self.place.name))
            elif name == "corruptions":
                marks += _source_marks(self.parts[name], known[name])
            else:
                marks.append(f"{name}-{checksum(self.parts[name])[:8]}")
        return marks or self._cell_marks(report)

    def _data_mark(self) -> str:
        return f"on-{_slug(dataset_name(self.dataset))}-{_short(self.parts[CLEAN])}"

    def _cell_marks(self, report: Mapping[str, Any]) -> list[str]:
        cells = [name.split("/")[1:] for name in self.cells if name.startswith("corruption/")]
        names = list(dict.fromkeys(name for name, _ in cells))
        severities = list(dict.fromkeys(severity for _, severity in cells))
        if not names and (
            attacks := [name.split("/")[1] for name in self.cells if name.startswith("attack/")]
        ):
            own = [name for name in attacks if name != "none" and not name.startswith("random-")]
            return ["+".join(own) if len(own) <= MAX_NAMED else f"{len(own)}-attacks"]
        suites = [suite.name for suite in self.suites[2:]]  # after the clean images and the corruptions
        if not names and suites:
            return [_slug("+".join(suites))]
        text = "+".join(names) if 0 < len(names) <= MAX_NAMED else f"{len(names)}-corruptions"
        is_all = len(severities) in (0, len(SEVERITIES))
        return [text, *([] if is_all else [f"severity-{'+'.join(severities)}"])]


def _differ(part: Any, other: Any) -> bool:
    """Whether two parts differ in a key that both have; the name of an archive does not matter."""
    if isinstance(part, dict) and isinstance(other, dict):
        return any(part[key] != other[key] for key in (part.keys() & other.keys()) - {"archive"})
    return part != other


def _source_marks(source: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    marks = []
    for key, value in source.items():
        if other.get(key, value) == value:
            continue
        if key == "fingerprint":
            marks.append(f"{_slug(str(source.get('archive', 'archive')))}-{str(value)[:8]}")
        elif key in ("seed", "generator"):
            marks.append(f"{key}{value}")
        elif key == "mce":
            marks.append("relative-to-alexnet" if "AlexNet" in str(value) else "plain-mean")
    return marks


def _short(part: Any) -> str:
    """The first digits of a part's fingerprint, or of its checksum."""
    found = part.get("fingerprint") if isinstance(part, Mapping) else None
    return str(found or checksum(part))[:8]


def _slug(text: str) -> str:
    return re.sub(r"[^\w.+]+", "-", text)[:60].strip("-.") or "unnamed"
