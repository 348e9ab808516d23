"""Can all that the configuration names be built? What train.py refuses before it reads any data."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from tenet.config import naming
from tenet.doctor.findings import Finding, ok, problem
from tenet.doctor.plan import Plan
from tenet.errors import UserError

if TYPE_CHECKING:
    from torch import nn

KEYS = ("trainer", "dataset", "augment", "schedule", "tracking", "backbone", "tenet", "optimizer")


def check(plan: Plan) -> Iterator[Finding]:
    for key in KEYS:
        try:
            build(plan, key)
        except UserError as error:
            plan.wrong.add(key)
            yield problem(str(error))
    if plan.wrong:
        return
    targets = (
        str(plan.config[key]["_target_"]) for key in ("backbone", "tenet", "augment", "optimizer", "schedule")
    )
    names = [target.rpartition(".")[2] for target in targets]
    names[1] = "plain training" if names[1] == "None" else names[1]
    parameters = sum(parameter.numel() for parameter in outline(plan).parameters())
    yield ok(f"{', '.join(names)}: all can be built", parameters=parameters)


def build(plan: Plan, key: str) -> Any:
    """Build one part as a run would, on the meta device; what is wrong already is taken as right."""
    if key == "backbone":
        return outline(plan)
    if key == "optimizer":
        parameters = [torch.zeros(1)] if "backbone" in plan.wrong else outline(plan).parameters()
        return plan.build(key, parameters)
    built = plan.build(key)
    if key == "tenet" and built is not None and "backbone" not in plan.wrong:
        with naming(key):
            built.check(outline(plan), (3, 32, 32))
    return built


def outline(plan: Plan, *, num_classes: int = 2) -> "nn.Module":
    """The network on the meta device: shapes without memory or arithmetic."""
    with torch.device("meta"):
        return plan.build("backbone", num_classes=num_classes)
