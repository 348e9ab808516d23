"""What a JSON report measured: read from its file, also from those of earlier versions. Imports neither torch nor hydra."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from tenet import __version__
from tenet.corruptions.names import GENERATOR_VERSION

CLEAN = "clean"
"""The cell of the data set's own test images, which is always there: other suites compare with it."""
SECTIONS = {"files": "corruption", "generated": "corruption_generated"}
"""By the kind of the images: the key of the figures under corruption in a report, and the first part of metrics' names."""
ATTACKED_IMAGES = "attack/images"
"""The metric that counts the test images under attack: figures on another number of them can't be compared."""
# Settings of a data set that its test images don't depend on.
NOT_OF_THE_TEST_SET = {
    *("mean", "std", "fraction", "per_class", "validation_fraction", "split_seed", "root"),
    *("scale", "ratio", "workers"),
}


def settings_of_test_set(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a data set that choose its test images."""
    settings = {key: value for key, value in dataset.items() if key not in NOT_OF_THE_TEST_SET}
    # Modules have been moved between versions; the names of the classes have not.
    return {**settings, "_target_": str(dataset.get("_target_")).rpartition(".")[2]}


def dataset_name(dataset: Mapping[str, Any]) -> str:
    """Such as `cifar10`, or `arrays mine` for the file mine.npz."""
    name = str(dataset.get("name") or settings_of_test_set(dataset)["_target_"].lower())
    path = dataset.get("path")
    return f"{name} {PurePath(str(path)).stem}" if path else name


def measured_of(report: Mapping[str, Any], *, dataset: Mapping[str, Any]) -> dict[str, Any]:
    """What the report measured, by part. dataset: the configuration of the data set that it is compared with.

    A report of an earlier version does not say it: its data set counts as another one if its settings are others, and
    its generator by the version of the package. Parts that can't be known are left out.
    """
    if isinstance(measured := report.get("measured"), Mapping):
        return dict(measured)
    measured = {}
    own = report.get("dataset")
    if isinstance(own, Mapping):
        is_same = settings_of_test_set(own) == settings_of_test_set(dataset)
        measured = {"dataset": dataset_name(own), "is_own_data": is_same}
        measured |= {} if is_same else {CLEAN: {"fingerprint": "unknown"}}
    seed, version = as_mapping(report.get("corruptions_from")).get("seed"), report.get("tenet_version")
    if report.get("source") == "generated" and seed is not None:
        generator = {"generator": GENERATOR_VERSION if version == __version__ else version} if version else {}
        measured["corruptions"] = {"kind": "generated", "seed": seed, **generator}
    if definition := report.get("mce_definition"):
        measured["corruptions"] = {**measured.get("corruptions", {}), "mce": definition}
    return measured


def corruption_figures(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """The figures under corruption, such as mce_pct and corruptions; those of an earlier version are keys of the report."""
    return next((as_mapping(report[name]) for name in SECTIONS.values() if name in report), report)


def present_names(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a `summary.json`; an earlier version had generated corruptions under `corruption/` too."""
    section = SECTIONS["generated" if summary.get("corruption/source") == "generated" else "files"]
    return {
        re.sub("^corruption/", f"{section}/", name): value
        for name, value in summary.items()
        if name != "corruption/source"
    }


def path_name(marks: Sequence[str]) -> str:
    """The file name of a report with these marks, such as corruptions-files-part.json."""
    return f"{'-'.join(['corruptions', *marks])}.json"


def cells_of(report: Mapping[str, Any]) -> list[str]:
    """The names of the cells of a report, also of one that lists none."""
    listed = as_mapping(report.get("measured")).get("cells")
    if isinstance(listed, list):
        return [str(name) for name in listed]
    corruptions = as_mapping(report.get("corruptions")).items()
    cells = [f"corruption/{name}/{severity}" for name, each in corruptions for severity in as_mapping(each)]
    flips = as_mapping(as_mapping(report.get("perturbations")).get("flip_pct"))
    others = as_mapping(report.get("other_test_sets"))
    return [CLEAN, *cells, *others, *(f"perturbation/{name}" for name in flips)]


def as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
