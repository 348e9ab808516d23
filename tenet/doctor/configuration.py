"""Can all that the configuration names be built? What train.py refuses before it reads any data."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from tenet.config.build import prefix_errors
from tenet.doctor.findings import Finding, ok, problem
from tenet.doctor.plan import Plan
from tenet.errors import UserError
from tenet.experiment import build_on_meta
from tenet.training.loop import try_optimizer

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
    """Build one part as a run would, on the meta device where that will do."""
    if key == "backbone":
        return outline(plan)
    if key == "optimizer":
        with prefix_errors(key):
            return try_optimizer(partial(plan.build, key), torch.device("cpu"))
    built = plan.build(key)
    if key == "tenet" and built is not None and "backbone" not in plan.wrong:
        with prefix_errors(key):
            built.check(outline(plan), (3, 32, 32))
    return built


def outline(plan: Plan, *, num_classes: int = 2) -> Any:
    """The network on the meta device: shapes without memory or arithmetic."""
    return build_on_meta(plan.settings_of("backbone"), num_classes=num_classes)
