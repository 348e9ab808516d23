"""Plans of tiny runs, for the tests of the doctor."""

from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from tenet.data import Dataset, Splits
from tenet.doctor.__main__ import make_parser, make_plan
from tenet.doctor.findings import Finding, Plan

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
    return make_plan(make_parser().parse_intermixed_args(words))


LOADED: dict[str, Splits] = {}


def load_once(dataset: Dataset) -> Splits:
    if repr(dataset) not in LOADED:
        LOADED[repr(dataset)] = dataset.load()
    return LOADED[repr(dataset)]


def plan_in(folder: Path, *words: str, with_data: bool = True) -> Plan:
    """The plan of a tiny run in `folder`; with_data: its data set is loaded, once for all tests."""
    groups = [word.partition("=")[0] for word in words]
    # Another option of a group has other keys.
    tiny = [word for word in TINY if word.partition(".")[0] not in groups or word.startswith("dataset.")]
    plan = deepcopy(composed(*tiny, *words))
    plan = replace(plan, run_dir=folder / "run", output=folder / "doctor")
    if with_data:
        plan.experiment.splits = load_once(plan.experiment.dataset)
    return plan


def statuses(findings: list[Finding]) -> list[str]:
    return [finding.status for finding in findings]
