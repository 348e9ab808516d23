"""Build every part of the configuration, as train.py does before it reads any data."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from tenet.config.build import build, prefix_errors
from tenet.doctor.findings import Finding, Plan, ok, problem
from tenet.errors import UserError
from tenet.experiment import try_optimizer

# Attributes of the experiment. The outline is the network on the meta device, which takes no memory.
PARTS = ("settings", "dataset", "augmentation", "schedule", "tracking", "method", "outline")
NAMED_GROUPS = ("backbone", "tenet", "augment", "optimizer", "schedule")


def check(plan: Plan) -> Iterator[Finding]:
    def try_step() -> None:
        with prefix_errors("optimizer"):
            try_optimizer(partial(build, plan.config["optimizer"], key="optimizer"), torch.device("cpu"))

    attempts: list[Callable[[], Any]] = [partial(getattr, plan.experiment, name) for name in PARTS]
    for attempt in (*attempts, try_step):
        try:
            attempt()
        except UserError as error:
            # A part fails with the same message as the part that it needs.
            if str(error) not in plan.known_errors:
                plan.known_errors.add(str(error))
                yield problem(str(error))
    if plan.known_errors:
        return
    targets = [str(plan.config[group]["_target_"]) for group in NAMED_GROUPS]
    names = ["plain training" if name == "None" else name.rpartition(".")[2] for name in targets]
    parameters = sum(parameter.numel() for parameter in plan.experiment.outline.parameters())
    yield ok(f"{', '.join(names)}: all can be built", parameters=parameters)
