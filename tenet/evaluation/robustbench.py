"""RobustBench's description of a model: model_info/cifar10/{corruptions,Linf,L2} in github.com/RobustBench/robustbench."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Model(NamedTuple):
    """The names under which a model is reported. method: the options of its training; empty if nothing recorded them."""

    name: str
    dataset: str
    architecture: str
    method: str = ""


def robustbench_info(model: Model, *, clean_pct: float, mce_pct: float, is_official: bool) -> dict[str, Any]:
    """The model info for the corruptions threat model; fields that only the authors know are left empty.

    Accuracies are texts with two digits. RobustBench takes figures from the official files: without
    `is_official`, `footnote` says that these were measured on generated corruptions.
    """
    notes = [] if is_official else ["Measured on generated corruptions, not on the official files."]
    return _info(model, "corruptions_acc", 100 - mce_pct, radius=None, clean_pct=clean_pct, notes=notes)


def robustbench_attack_info(
    model: Model, *, radius: str, clean_pct: float, robust_accuracy_pct: float, notes: Sequence[str]
) -> dict[str, Any]:
    """The model info for the threat models Linf and L2: the accuracy under AutoAttack at the radius, such as 8/255.

    notes: sentences for `footnote`, on what differs from RobustBench's measurement.
    """
    return _info(
        model, "autoattack_acc", robust_accuracy_pct, radius=radius, clean_pct=clean_pct, notes=notes
    )


def _info(
    model: Model,
    name: str,
    accuracy_pct: float,
    *,
    radius: str | None,
    clean_pct: float,
    notes: Sequence[str],
) -> dict[str, Any]:
    info = {
        "link": "",
        "name": model.name,
        "authors": "",
        "additional_data": False,
        "number_forward_passes": 1,
        "dataset": model.dataset,
        "venue": "",
        "architecture": model.architecture,
        "eps": radius,
        "clean_acc": f"{100 - clean_pct:.2f}",
        "reported": "",
        name: f"{accuracy_pct:.2f}",
    }
    return {**info, "footnote": " ".join(notes)} if notes else info
