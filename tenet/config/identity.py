"""Which settings make two runs different: for a run's id, when it is resumed, and when runs are compared."""

from collections.abc import Mapping
from typing import Any

from tenet.config.rules import flatten

# Keys, and groups of keys, that do not count in a run's id: no result depends on them.
NOT_THE_EXPERIMENT = ("choices", "tracking", "resume", "rerun", "dataset.workers", "trainer.timeout_minutes")

# Keys that a resumed run may change: length, device and bookkeeping, never the experiment.
CHANGEABLE_ON_RESUME = (
    "trainer.epochs",
    "trainer.max_steps",
    "trainer.device",
    "trainer.processes",
    "trainer.timeout_minutes",
    "trainer.evaluation_batch_size",
    "trainer.evaluate_every_epochs",
    "trainer.evaluate_images",
    "trainer.checkpoint_every_steps",
    "trainer.checkpoint_every_minutes",
    "trainer.on_nonfinite",
    "trainer.max_nonfinite_steps",
    "dataset.workers",
)

# Keys, and groups of keys, that may differ between the runs of one group of a comparison: logging, hardware, the seed.
NOT_COMPARED = (
    "seed",
    "choices",
    "resume",
    "rerun",
    "tracking",
    "experiment",
    "search",
    "dataset.root",
    "dataset.workers",
    "trainer.device",
    "trainer.deterministic",
    "trainer.timeout_minutes",
    "trainer.checkpoint_every_steps",
    "trainer.checkpoint_every_minutes",
    "trainer.evaluation_batch_size",
    "trainer.log_every_steps",
    "trainer.evaluate_every_epochs",
)


def is_of_experiment(key: str) -> bool:
    """Whether two runs that differ in this key are of different experiments, and so have different ids."""
    return not {key, key.partition(".")[0]} & {*NOT_THE_EXPERIMENT}


def is_compared(key: str) -> bool:
    """Whether a comparison puts two runs that differ in this key into different groups."""
    return not f"{key}.".startswith(tuple(f"{name}." for name in NOT_COMPARED))


def schedule_epochs(config: Mapping[str, Any]) -> Any:
    """How many epochs the learning-rate schedule of a run spans: all of them, unless the run was extended."""
    values = dict(flatten(config))
    return values.get("trainer.schedule_epochs") or values.get("trainer.epochs")


def fixed_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """By dotted key, the settings that are the same in all parts of a run, however often it is resumed."""
    values = {
        key: value
        for key, value in flatten(config)
        if is_of_experiment(key) and key not in CHANGEABLE_ON_RESUME
    }
    return {**values, "trainer.schedule_epochs": schedule_epochs(config)}
