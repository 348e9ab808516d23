"""Run folders, read for comparing: what a run was, what it reached, and whether it can be compared at all."""

import glob
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenet.compare.keys import OFF, flat
from tenet.errors import UserError, printable
from tenet.files.json import number, read_json
from tenet.files.names import CONFIG_FILE, METRICS_FILE, SUMMARY_FILE, WEIGHTS_FILE
from tenet.files.plain import read_yaml, sha256_of

OUT_OF_DATE = "evaluated before it was trained on; evaluate it again"
TEST_ERROR = "test error, %"
MCE = "mCE, "  # how the names of its columns begin
MAX_NAME = 200
# Official figures stand first: they are the ones that papers compare.
SOURCES = {"files": "official files", "generated": "generated"}

Cells = dict[str, dict[int, float]]


class CompareError(UserError):
    """What was asked for cannot be compared; the message says why."""


@dataclass(frozen=True)
class Run:
    """A run folder.

    config: values by dotted key. figures: by column: the test error, the mCEs, and all of summary.json by
    the metrics' names. cells: errors in percent by column of the mCE, then corruption, then severity.
    problem: why the run, or its mCE, is left out; else empty.
    """

    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    is_finished: bool = False
    figures: Mapping[str, float] = field(default_factory=dict)
    cells: Mapping[str, Cells] = field(default_factory=dict)
    problem: str = ""

    @property
    def seed(self) -> int:
        return self.config["seed"]

    @property
    def is_evaluated(self) -> bool:
        return any(column.startswith(MCE) for column in self.figures)

    @property
    def is_plain_in_fact(self) -> bool:
        """Whether it was to be inhibited, and ended before its first inhibited step."""
        return self.config.get("tenet", OFF) != OFF and self.figures.get("train/inhibited_steps") == 0


def find_runs(places: Sequence[str]) -> list[Path]:
    """The run folders that the paths and glob patterns name or hold, each once, in natural order.

    Raises CompareError for a place that holds none.
    """
    found: dict[Path, Path] = {}
    for place in places:
        # Not Path.glob: a pattern may be absolute.
        paths = [place] if os.path.lexists(place) else sorted(glob.glob(place, recursive=True))  # noqa: PTH207
        folders = [folder for path in paths for folder in _runs_below(Path(path))]
        if not folders:
            raise CompareError(f"{place}: no run folder (one with {CONFIG_FILE}) there or below")
        found.update({folder.resolve(): folder for folder in folders if folder.resolve() not in found})
    return sorted(found.values(), key=_natural)


def _runs_below(top: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(top):
        if CONFIG_FILE in files:
            yield Path(folder)
            below.clear()  # a tracker's folder inside the run has a config.yaml of its own
        else:
            # Hydra and trackers keep theirs in such folders also where a run was refused.
            below[:] = [name for name in below if not name.startswith(".") and name != "wandb"]


def _natural(folder: Path) -> tuple[tuple[int, int, str], ...]:
    """Orders 9 before 10."""
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in folder.parts)


def read_run(folder: Path) -> Run:
    """Never raises for what a run folder holds: `problem` tells of it."""
    try:
        return _read(folder)
    except (OSError, ValueError, RecursionError) as error:
        # A folder in a file's place, a file of another user, a number of thousands of digits.
        return Run(folder, problem=f"can't be read ({type(error).__name__}: {error})")


def _read(folder: Path) -> Run:
    try:
        loaded = read_yaml(folder / CONFIG_FILE)
    except ValueError as error:
        return Run(folder, problem=f"{CONFIG_FILE} is no YAML ({error})")
    values = flat(loaded) if isinstance(loaded, dict) else {}
    config = {_name(key): value for key, value in values.items()}
    if type(config.get("seed")) is not int:
        return Run(folder, problem=f"{CONFIG_FILE} is not a run's: it has no seed")
    if stop := _where_it_stopped(folder, config):
        return Run(folder, config, problem=f"unfinished: {stop}")
    mces, cells, clean, problem = _evaluations(folder)
    summary = read_json(folder / SUMMARY_FILE)
    test = number(summary.get("test/error_pct"))
    test = clean if test is None else test
    figures = ({} if test is None else {TEST_ERROR: test}) | mces | _metrics(summary)
    return Run(folder, config, is_finished=True, figures=figures, cells=cells, problem=problem)


def _metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """The summary's numbers; what was measured under corruption tells under whose: never one mean of both."""
    origin = f", {_origin(summary.get('corruption/source'))}"
    return {
        f"{_name(name)}{origin if name.startswith('corruption/') else ''}": figure
        for name, value in summary.items()
        if (figure := number(value)) is not None
    }


def _where_it_stopped(folder: Path, config: Mapping[str, Any]) -> str:
    """Empty if the training went as far as its configuration says."""
    last = _last_row(folder / METRICS_FILE)
    epochs, max_steps = number(config.get("trainer.epochs")), number(config.get("trainer.max_steps"))
    epoch, step = number(last.get("epoch")), number(last.get("step"))
    is_short = epochs is not None and epoch is not None and epoch < epochs - 1e-6
    if is_short and (max_steps is None or step is None or step < max_steps):
        return f"stopped at epoch {epoch:.3g} of {epochs:g}"
    return "" if (folder / WEIGHTS_FILE).exists() else f"no {WEIGHTS_FILE}"


def _last_row(path: Path, tail: int = 65536) -> dict[str, Any]:
    """The last whole line of a metrics file that tells its epoch; long files are not read whole."""
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - tail))
        lines = file.read().split(b"\n")
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "epoch" in row:
            return row
    return {}


def _evaluations(folder: Path) -> tuple[dict[str, float], dict[str, Cells], float | None, str]:
    """mCE and cells by column, the clean error, and what is wrong or missing."""
    # The names that evaluate.py gives stand first: an extra file of the same kind never takes their place.
    paths = sorted((folder / "evaluation").glob("corruptions*.json"), key=lambda path: (len(path.stem), path))
    mces: dict[str, float] = {}
    cells: dict[str, Cells] = {}
    clean, problems = None, []
    weights_sha256 = sha256_of(folder / WEIGHTS_FILE) if paths else ""
    for path in paths:
        report = read_json(path)
        if report.get("weights_sha256", weights_sha256) != weights_sha256:
            problems.append(f"{path.name} is out of date: {OUT_OF_DATE}")
            continue
        mce, column = number(report.get("mce_pct")), mce_column(report)
        if clean is None:
            clean = number(_mapping(report.get("clean")).get("error_pct"))
        if mce is None:
            problems.append(f"{path.name} has no mCE")
        elif column in mces:
            problems.append(f"{path.name} is left out: a second {column}")
        else:
            mces[column], cells[column] = mce, _cells(report)
    if not mces:
        return mces, cells, clean, "not evaluated" + "".join(f"; {text}" for text in problems)
    # A part measured beside the whole sweep is no fault.
    return mces, cells, clean, "; ".join(text for text in problems if "has no mCE" not in text)


def mce_column(report: Mapping[str, Any]) -> str:
    """Official and generated corruptions, plain and relative errors: each its own column, never one mean."""
    is_relative = "AlexNet" in str(report.get("mce_definition", ""))
    return f"{MCE}{_origin(report.get('source'))}{', relative to AlexNet' if is_relative else ''}, %"


def _origin(source: Any) -> str:
    return "of unknown source" if source is None else SOURCES.get(str(source), _name(source))


def _cells(report: Mapping[str, Any]) -> Cells:
    return {
        _name(name): {
            int(severity): error
            for severity, value in _mapping(by_severity).items()
            if str(severity).isdecimal() and (error := number(value)) is not None
        }
        for name, by_severity in _mapping(report.get("corruptions")).items()
    }


def _name(text: object) -> str:
    """As it may stand in a table, whoever wrote the file."""
    return printable(str(text))[:MAX_NAME]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
