"""RobustBench's description of a model: model_info/cifar10/corruptions in github.com/RobustBench/robustbench."""

from typing import Any, NamedTuple


class Model(NamedTuple):
    """The names under which a model is reported."""

    name: str
    dataset: str
    architecture: str


def robustbench_info(model: Model, *, clean_pct: float, mce_pct: float, is_official: bool) -> dict[str, Any]:
    """The model info for the corruptions threat model; fields that only the authors know are left empty.

    Accuracies are texts with two digits. RobustBench takes figures from the official files: without
    `is_official`, `footnote` says that these were measured on generated corruptions.
    """
    info = {
        "link": "",
        "name": model.name,
        "authors": "",
        "additional_data": False,
        "number_forward_passes": 1,
        "dataset": model.dataset,
        "venue": "",
        "architecture": model.architecture,
        "eps": None,
        "clean_acc": f"{100 - clean_pct:.2f}",
        "reported": "",
        "corruptions_acc": f"{100 - mce_pct:.2f}",
    }
    if not is_official:
        info["footnote"] = "Measured on generated corruptions, not on the official files."
    return info
