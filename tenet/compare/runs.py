"""Run folders as the comparison reads them: configuration, figures, and why a run cannot be compared."""

import glob
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenet.compare.keys import OFF, flatten_config, natural, varying
from tenet.errors import UserError, printable
from tenet.files.json import number, read_json
from tenet.files.names import CONFIG_FILE, EVALUATION_FOLDER, METRICS_FILE, SUMMARY_FILE, WEIGHTS_FILE
from tenet.files.plain import read_yaml, sha256_of

TEST_ERROR = "test error, %"
MCE = "mCE, "  # prefix of the mCE columns
MAX_NAME = 200  # characters
TAIL_BYTES = 65536
# Official figures come first, since papers compare those.
SOURCES = {"files": "official files", "generated": "generated"}

# Groups that are not part of a run's identity, as in tenet.config.run_config.run_id.
NOT_THE_CONFIGURATION = {"tracking", "resume", "rerun"}
# The name that rerun=true gives to the folder of the older run.
SET_ASIDE = re.compile(r"(.+)-before-\d{8}-\d{6}(-\d{6})?")

Cells = dict[str, dict[int, float]]  # corruption -> severity -> error in percent


class CompareError(UserError):
    """The comparison that was asked for is not possible; the message says why."""


@dataclass(frozen=True)
class Run:
    """A run folder.

    config: values by dotted key. figures: by column: the test error, the mCEs, and the numbers of
    summary.json under their own names. cells: by mCE column. problem: why the run or its mCE is left out;
    empty if nothing is.
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
    def is_never_inhibited(self) -> bool:
        """Whether a run with TENET ended before its first inhibited step."""
        return self.config.get("tenet", OFF) != OFF and self.figures.get("train/inhibited_steps") == 0


def find_runs(places: Sequence[str]) -> list[Path]:
    """The run folders at or below the paths and glob patterns, each once, in natural order.

    Raises CompareError for a place without any.
    """
    found: dict[Path, Path] = {}
    for place in places:
        # Not Path.glob: a pattern may be absolute.
        paths = [place] if os.path.lexists(place) else sorted(glob.glob(place, recursive=True))  # noqa: PTH207
        folders = [folder for path in paths for folder in _runs_below(Path(path))]
        if not folders:
            raise CompareError(f"{place}: no run folder (one with {CONFIG_FILE}) there or below")
        for folder in folders:
            found.setdefault(folder.resolve(), folder)
    return sorted(found.values(), key=lambda folder: [natural(part) for part in folder.parts])


def _runs_below(top: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(top):
        if CONFIG_FILE in files:
            yield Path(folder)
            below.clear()  # a tracker's folder inside the run has a config.yaml of its own
        else:
            # Hydra and trackers write a config.yaml even for a run that was refused.
            below[:] = [name for name in below if not name.startswith(".") and name != "wandb"]


def read_run(folder: Path) -> Run:
    """Never raises for the contents of a run folder: `problem` describes what is wrong."""
    try:
        return _read(folder)
    except (OSError, ValueError, RecursionError) as error:
        # A folder in place of a file, a file of another user, a number of thousands of digits.
        return Run(folder, problem=f"can't be read ({type(error).__name__}: {error})")


def _read(folder: Path) -> Run:
    try:
        loaded = read_yaml(folder / CONFIG_FILE)
    except ValueError as error:
        return Run(folder, problem=f"{CONFIG_FILE} is not valid YAML ({error})")
    values = flatten_config(_mapping(loaded))
    config = {_name(key): value for key, value in values.items()}
    if type(config.get("seed")) is not int:
        return Run(folder, problem=f"{CONFIG_FILE} is not a run's: it has no seed")
    if reason := _unfinished(folder, config):
        return Run(folder, config, problem=f"unfinished: {reason}")
    mces, cells, clean, problem = _read_evaluations(folder)
    summary = read_json(folder / SUMMARY_FILE)
    test = number(summary.get("test/error_pct"))
    test = clean if test is None else test
    # Names under `corruption/` get their source, so that sources are never mixed.
    origin = f", {_origin(summary.get('corruption/source'))}"
    metrics = {
        f"{_name(name)}{origin if name.startswith('corruption/') else ''}": figure
        for name, value in summary.items()
        if (figure := number(value)) is not None
    }
    figures = ({} if test is None else {TEST_ERROR: test}) | mces | metrics
    return Run(folder, config, is_finished=True, figures=figures, cells=cells, problem=problem)


def _unfinished(folder: Path, config: Mapping[str, Any]) -> str:
    """Why the run is not finished; empty if it is."""
    last = _last_row(folder / METRICS_FILE)
    epochs, max_steps = number(config.get("trainer.epochs")), number(config.get("trainer.max_steps"))
    epoch, step = number(last.get("epoch")), number(last.get("step"))
    is_short = epochs is not None and epoch is not None and epoch < epochs - 1e-6
    if is_short and (max_steps is None or step is None or step < max_steps):
        return f"stopped at epoch {epoch:.3g} of {epochs:g}"
    return "" if (folder / WEIGHTS_FILE).exists() else f"no {WEIGHTS_FILE}"


def _last_row(path: Path) -> dict[str, Any]:
    """The last whole line with an epoch; only the end of a long file is read."""
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        lines = file.read().split(b"\n")
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "epoch" in row:
            return row
    return {}


def _read_evaluations(folder: Path) -> tuple[dict[str, float], dict[str, Cells], float | None, str]:
    """The mCEs and the cells by column, the clean error, and the problems as one text."""
    # evaluate.py's own names are the shortest; a file that was added later never takes their place.
    paths = sorted((folder / EVALUATION_FOLDER).glob("corruptions*.json"), key=lambda p: (len(p.stem), p))
    mces: dict[str, float] = {}
    cells: dict[str, Cells] = {}
    clean, partial, problems = None, [], []
    weights_sha256 = sha256_of(folder / WEIGHTS_FILE) if paths else ""
    for path in paths:
        report = read_json(path)
        mce, column = number(report.get("mce_pct")), mce_column(report)
        if report.get("weights_sha256", weights_sha256) != weights_sha256:
            reason = "is out of date: the run was trained further after it; evaluate again"
            problems.append(f"{path.name} {reason}")
            continue
        if clean is None:
            clean = number(_mapping(report.get("clean")).get("error_pct"))
        if mce is None:
            partial.append(f"{path.name} has no mCE")
        elif column in mces:
            problems.append(f"{path.name} is left out: a second {column}")
        else:
            mces[column], cells[column] = mce, _cells(report)
    if not mces:
        problems = ["not evaluated", *problems, *partial]
    return mces, cells, clean, "; ".join(problems)


def mce_column(report: Mapping[str, Any]) -> str:
    """The column of a report's mCE: one for each source of corruptions and definition of the mCE."""
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
    """A name from a run folder as it can be shown: printable and of bounded length."""
    return printable(str(text))[:MAX_NAME]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def find_repeats(runs: Sequence[Run]) -> dict[Path, str]:
    """Folder -> reason, for runs that duplicate another run's configuration.

    A run that was set aside is left out if the newer run is present. Of other runs with one configuration, an
    evaluated run is kept, or else the first.
    """
    folders = {run.folder for run in runs}
    reasons: dict[Path, str] = {}
    kept: list[Run] = []
    for run in sorted(runs, key=lambda run: not run.is_evaluated):
        name = SET_ASIDE.fullmatch(run.folder.name)
        same = (other for other in kept if other.seed == run.seed and _is_same(other.config, run.config))
        if name and run.folder.with_name(name[1]) in folders:
            reasons[run.folder] = "set aside by rerun=true; the newer run is compared"
        elif other := next(same, None):
            reasons[run.folder] = f"the same configuration as {other.folder}, which is compared"
        else:
            kept.append(run)
    return reasons


def _is_same(config: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return {key.partition(".")[0] for key in varying([config, other])} <= NOT_THE_CONFIGURATION
