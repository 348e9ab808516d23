"""Plans of tiny runs, for the tests of the doctor."""

from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from tenet.data import Dataset, Splits
from tenet.doctor.__main__ import parser, plan_of
from tenet.doctor.findings import Finding
from tenet.doctor.plan import Plan

# 143 digits, two views each, in batches of 32.
TINY = (
    "experiment=quickstart",
    "dataset.fraction=0.1",
    "backbone.width=4",
    "tenet.groups=3",
    "tenet.start_step=4",
    "trainer.batch_size=32",
    "trainer.epochs=3",
    "trainer.device=cpu",
)


@lru_cache
def composed(*words: str) -> Plan:
    return plan_of(parser().parse_intermixed_args(words))


LOADED: dict[str, Splits] = {}


def loaded(dataset: Dataset) -> Splits:
    if repr(dataset) not in LOADED:
        LOADED[repr(dataset)] = dataset.load()
    return LOADED[repr(dataset)]


def plan_in(folder: Path, *words: str, examined: bool = True) -> Plan:
    """The plan of a tiny run in `folder`; `examined`: as it is when the data set has been found."""
    groups = [word.partition("=")[0] for word in words]
    # Another option of a group has other keys.
    tiny = [word for word in TINY if word.partition(".")[0] not in groups or word.startswith("dataset.")]
    plan = deepcopy(composed(*tiny, *words))
    plan = replace(plan, run_dir=folder / "run", output=folder / "doctor")
    if examined:
        import torch

        plan.known_device = torch.device("cpu")
        plan.known_splits = loaded(plan.build("dataset"))
    return plan


def statuses(findings: list[Finding]) -> list[str]:
    return [finding.status for finding in findings]
