"""Run folders as the comparison reads them: configuration, figures, and why a run cannot be compared."""

import glob
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tenet.compare.evaluations import (
    MCE,
    TEST_ERROR,
    Cells,
    Evaluations,
    as_label,
    read_evaluations,
    source_text,
)
from tenet.compare.keys import flatten_config, natural, value_text, varying
from tenet.compare.records import read_record
from tenet.config.options import OFF
from tenet.errors import UserError
from tenet.evaluation.reports import SECTIONS, as_mapping, dataset_name, present_names, settings_of_test_set
from tenet.files.json import number, read_json
from tenet.files.names import CONFIG_FILE, METRICS_FILE, SUMMARY_FILE, WEIGHTS_FILE
from tenet.files.plain import read_yaml

TAIL_BYTES = 65536
# Two runs are the same if they differ only in these keys and groups of keys.
NOT_THE_CONFIGURATION = {"choices", "tracking", "resume", "rerun", "experiment", "search"}
# The name that rerun=true gives to the folder of the older run.
SET_ASIDE = re.compile(r"(.+)-before-\d{8}-\d{6}(-\d{6})?")


class CompareError(UserError):
    """The comparison that was asked for is not possible; the message says why."""


@dataclass(frozen=True)
class Run:
    """A run folder.

    config: values by dotted key. figures: by column: the test error, the mCEs, and the numbers of summary.json under
    their own names. cells: by mCE column. problem: why the run or one of its figures is left out; empty if nothing is.
    dataset: the name of the data set. dataset_settings: the settings that choose its test images. test_set: the
    fingerprint of these images; empty if it was not recorded. overlaps: see Evaluations. commit, date, hardware: see
    Record.
    """

    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    is_finished: bool = False
    figures: Mapping[str, float] = field(default_factory=dict)
    cells: Mapping[str, Cells] = field(default_factory=dict)
    problem: str = ""
    dataset: str = ""
    dataset_settings: str = ""
    test_set: str = ""
    overlaps: tuple[str, ...] = ()
    commit: str = ""
    date: str = ""
    hardware: str = ""

    @property
    def kind(self) -> str:
        """`smoke run` or `search trial`, with the key that shows it; empty for any other run."""
        if self.config.get("experiment") == "debug":
            return "smoke run (experiment=debug)"
        if self.config.get("trainer.max_steps") is not None:
            return f"smoke run (trainer.max_steps={value_text(self.config, 'trainer.max_steps')})"
        return f"search trial (search={value_text(self.config, 'search')})" if "search" in self.config else ""

    @property
    def is_apart(self) -> bool:
        """Whether it is left out because of its kind."""
        return self.problem == self.why_apart

    @property
    def why_apart(self) -> str:
        return f"{self.kind or 'run'}, not compared"

    @property
    def seed(self) -> int:
        return self.config["seed"]

    @property
    def set_aside_from(self) -> Path | None:
        """The folder from which `rerun=true` moved this run; None if it did not."""
        name = SET_ASIDE.fullmatch(self.folder.name)
        return self.folder.with_name(name[1]) if name else None

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
        # Path.glob takes no absolute patterns.
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
            below.clear()  # W&B's folder in the run folder has a config.yaml of its own
        else:
            # Hydra and W&B write a config.yaml even for a run that was refused.
            below[:] = [name for name in below if not name.startswith(".") and name != "wandb"]


def read_run(folder: Path) -> Run:
    """Read a run folder. What is wrong with its contents raises no error: `problem` describes it."""
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
    loaded = as_mapping(loaded)
    values = flatten_config(loaded)
    record = read_record(folder)
    config = {**record.keys, **{as_label(key): value for key, value in values.items()}}
    if type(config.get("seed")) is not int:
        return Run(folder, problem=f"{CONFIG_FILE} is not a run's: it has no seed")
    run = Run(folder, config, commit=record.commit, date=record.date, hardware=record.hardware)
    if reason := _unfinished(folder, config):
        return replace(run, problem=f"unfinished: {reason}")
    dataset = as_mapping(loaded.get("dataset"))
    found = read_evaluations(folder, dataset=dataset)
    summary = present_names(read_json(folder / SUMMARY_FILE))
    test = number(summary.get("test/error_pct"))
    test = found.clean if test is None else test
    # Names under `corruption/` and `corruption_generated/` are completed by their source, so that sources never mix.
    origins = {section: f", {_source_of(summary, kind, found)}" for kind, section in SECTIONS.items()}
    metrics = {
        f"{as_label(name)}{origins.get(name.partition('/')[0], '')}": figure
        for name, value in summary.items()
        if (figure := number(value)) is not None
    }
    figures = ({} if test is None else {TEST_ERROR: test}) | found.figures | metrics
    return replace(
        run,
        is_finished=True,
        figures=figures,
        cells=found.cells,
        problem=found.problem,
        dataset=as_label(dataset_name(dataset)),
        dataset_settings=json.dumps(settings_of_test_set(dataset), sort_keys=True, default=str),
        test_set=found.test_set,
        overlaps=found.overlaps,
    )


def _source_of(summary: Mapping[str, Any], kind: str, found: Evaluations) -> str:
    """What the summary's corruption figures were measured on, in the words of the column of the report with the same mCE."""
    mce = number(summary.get(f"{SECTIONS[kind]}/mce_pct"))
    own = f"{MCE}{source_text(kind)}"
    columns = [name for name, value in found.figures.items() if name.startswith(own) and value == mce]
    known = (name.removeprefix(MCE).removesuffix(", %") for name in columns)
    return next(known, source_text(kind))


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


def leave_out_set_aside(runs: Sequence[Run]) -> list[Run]:
    """The runs; a run that `rerun=true` set aside is marked as left out if the newer run is finished."""
    finished = {run.folder for run in runs if run.is_finished}

    def is_replaced(run: Run) -> bool:
        newer = run.set_aside_from
        return run.is_finished and newer is not None and newer in finished

    reason = "set aside by rerun=true; the newer run is compared"
    return [replace(run, is_finished=False, problem=reason) if is_replaced(run) else run for run in runs]


def find_repeats(runs: Sequence[Run]) -> dict[Path, str]:
    """Folder -> reason, for runs that duplicate another run's configuration.

    An evaluated run is kept, or else the first.
    """
    reasons: dict[Path, str] = {}
    kept: list[Run] = []
    for run in sorted(runs, key=lambda run: not run.is_evaluated):
        same = (other for other in kept if other.seed == run.seed and _is_same(other.config, run.config))
        if other := next(same, None):
            reasons[run.folder] = f"the same configuration as {other.folder}, which is compared"
        else:
            kept.append(run)
    return reasons


def _is_same(config: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return {key.partition(".")[0] for key in varying([config, other])} <= NOT_THE_CONFIGURATION
