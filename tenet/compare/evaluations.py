"""The reports of evaluate.py in a run folder, as columns, whose names say what was measured: different kinds never mix."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, GENERATOR_VERSION
from tenet.errors import printable
from tenet.evaluation.reports import CLEAN, as_mapping, corruption_figures, measured_of
from tenet.files.json import number, read_json
from tenet.files.names import AVERAGED_WEIGHTS_FILE, EVALUATION_FOLDER, ORIGIN_FILE, WEIGHTS_FILE
from tenet.files.plain import sha256_of

TEST, MCE, ROBUST = "test error", "mCE, ", "robust accuracy, "  # prefixes of columns
TEST_ERROR = f"{TEST}, %"
MAX_NAME = 200  # characters
MAX_OVERLAPS = len(CORRUPTIONS + EXTRA_CORRUPTIONS)
# Official figures come first, since papers compare those.
SOURCES = {"files": "official files", "generated": "generated"}
OTHER_DATA = ", on "  # in the names of columns of other test images than the run's own

Cells = dict[str, dict[int, float]]  # corruption -> severity -> error in percent


@dataclass
class Evaluations:
    """What the reports of a run say.

    figures, cells: by column. clean: the error on the run's own test images. test_set: the fingerprint of these images;
    empty if it was not recorded. problem: why reports are missing or left out. overlaps: the benchmark's corruptions that
    the training showed the network.
    """

    figures: dict[str, float] = field(default_factory=dict)
    cells: dict[str, Cells] = field(default_factory=dict)
    clean: float | None = None
    test_set: str = ""
    problem: str = ""
    overlaps: tuple[str, ...] = ()


def read_evaluations(folder: Path, *, dataset: Mapping[str, Any]) -> Evaluations:
    """All reports on the run's present weights. dataset: the configuration of the run's data set."""
    found = Evaluations(
        test_set=as_label(as_mapping(read_json(folder / ORIGIN_FILE).get("data")).get("test") or "")
    )
    partial: list[str] = []
    problems: list[str] = []
    for path, report in _reports(folder, problems):
        measured = measured_of(report, dataset=dataset)
        of = _what(measured, found.test_set)
        column = mce_column(report, of=of, measured=measured)
        mce = number(corruption_figures(report).get("mce_pct"))
        clean = number(as_mapping(report.get("clean")).get("error_pct"))
        found.overlaps = found.overlaps or _overlaps(report)
        if of == "" and clean is not None:
            found.clean = clean if found.clean is None else found.clean
            found.test_set = found.test_set or as_label(
                as_mapping(measured.get(CLEAN)).get("fingerprint") or ""
            )
        elif clean is not None:
            found.figures.setdefault(f"{TEST}{of}, %", clean)
        for name, accuracy in _robust_accuracies(report, of=of):
            found.figures.setdefault(name, accuracy)
        if mce is None:
            partial.append(f"{as_label(path.name)} has no mCE")
        elif column in found.figures:
            problems.append(f"{path.name} is left out: a second {column}")
        else:
            found.figures[column], found.cells[column] = mce, _cells(report)
    own = [column for column in found.figures if OTHER_DATA not in column]
    if not any(column.startswith((MCE, ROBUST)) for column in own):
        problems = ["not evaluated", *problems, *partial]
    found.problem = "; ".join(problems)
    return found


def _reports(folder: Path, problems: list[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
    # evaluate.py's own names are the shortest, so a file that was added by hand never takes their place.
    paths = sorted((folder / EVALUATION_FOLDER).glob("corruptions*.json"), key=lambda p: (len(p.stem), p))
    # Keys: whether the weights are averaged.
    weights_sha256 = {False: sha256_of(folder / WEIGHTS_FILE)} if paths else {}
    if paths and (averaged := folder / AVERAGED_WEIGHTS_FILE).exists():
        weights_sha256[True] = sha256_of(averaged)
    for path in paths:
        report = read_json(path)
        present = weights_sha256.get(_is_averaged(as_mapping(report.get("measured"))))
        if report.get("weights_sha256", present) != present:
            reason = "is out of date: the run was trained further after it; evaluate again"
            problems.append(f"{path.name} {reason}")
        else:
            yield path, report


def _is_averaged(measured: Mapping[str, Any]) -> bool:
    return measured.get("is_average") is True


def _what(measured: Mapping[str, Any], test_set: str) -> str:
    """What distinguishes a report from one on the run's own test images and weights, such as
    `, on cifar10 1f0c5a2b, bf16`; empty if nothing does."""
    images = as_mapping(measured.get(CLEAN)).get("fingerprint")
    is_own = images == test_set if images and test_set else measured.get("is_own_data", True)
    data = "" if is_own else f"{OTHER_DATA}{as_label(measured.get('dataset'))} {as_label(images)[:8]}"
    precision = as_label(measured.get("precision", "fp32"))
    average = ", averaged weights" if _is_averaged(measured) else ""
    normalization = ", other normalisation" * (measured.get("is_own_normalization") is False)
    return data + average + normalization + (f", {precision}" if precision != "fp32" else "")


def mce_column(report: Mapping[str, Any], *, of: str = "", measured: Mapping[str, Any] | None = None) -> str:
    """The column of a report's mCE: one for each source of corruptions, data set, precision and definition of the mCE."""
    is_relative = "AlexNet" in str(corruption_figures(report).get("mce_definition", ""))
    source = as_mapping((measured or {}).get("corruptions"))
    origin = f"{source_text(report.get('source'))}{_which(source)}"
    return f"{MCE}{origin}{of}{', relative to AlexNet' if is_relative else ''}, %"


def _robust_accuracies(report: Mapping[str, Any], *, of: str) -> Iterator[tuple[str, float]]:
    """Column and figure of each attack that was asked for: one column for each setting and number of images."""
    attacks = as_mapping(report.get("attacks"))
    asked, total = attacks.get("asked"), attacks.get("of_test_images")
    for name, value in as_mapping(attacks.get("cells")).items():
        cell = as_mapping(value)
        accuracy, images = number(cell.get("robust_accuracy_pct")), cell.get("images")
        if accuracy is not None and isinstance(asked, list) and name.partition("-")[0] in asked:
            part = f" ({as_label(images)} images)" if images != total else ""
            what = f"{cell.get('attack')}, {attacks.get('norm')} {cell.get('radius')}"
            yield f"{ROBUST}{as_label(what)}{part}{of}, %", accuracy


def source_text(source: Any) -> str:
    return "of unknown source" if source is None else SOURCES.get(str(source), as_label(source))


def _which(source: Mapping[str, Any]) -> str:
    """Which files or which generator; empty for the generator's present version with its default seed."""
    if "fingerprint" in source:
        return f" ({as_label(source.get('archive'))} {as_label(source['fingerprint'])[:8]})"
    seed, version = source.get("seed", 0), source.get("generator", GENERATOR_VERSION)
    parts = [f"seed {as_label(seed)}"] * (seed != 0) + [f"version {as_label(version)}"] * (
        version != GENERATOR_VERSION
    )
    return f" ({', '.join(parts)})" if parts else ""


def _overlaps(report: Mapping[str, Any]) -> tuple[str, ...]:
    named = as_mapping(report.get("trained_with")).get("overlaps")
    return tuple(map(as_label, named[:MAX_OVERLAPS])) if isinstance(named, list) else ()


def _cells(report: Mapping[str, Any]) -> Cells:
    return {
        as_label(name): {
            int(severity): error
            for severity, value in as_mapping(by_severity).items()
            if str(severity).isdecimal() and (error := number(value)) is not None
        }
        for name, by_severity in as_mapping(corruption_figures(report).get("corruptions")).items()
    }


def as_label(text: object) -> str:
    """A name from a run folder, made printable and limited in length."""
    return printable(str(text))[:MAX_NAME]
