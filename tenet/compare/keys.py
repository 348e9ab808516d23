"""Configuration keys of runs: which of them differ, and values as people write them."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tenet.config.rules import flatten
from tenet.errors import printable

# What may differ between the runs of one experiment: how they are watched, and on what they run.
NO_PART_OF_THE_EXPERIMENT = (
    "seed",
    "resume",
    "rerun",
    "tracking",
    "dataset.root",
    "trainer.device",
    "trainer.deterministic",
    "trainer.checkpoint_every_steps",
    "trainer.checkpoint_every_minutes",
    "trainer.evaluation_batch_size",
    "trainer.log_every_steps",
    "trainer.evaluate_every_epochs",
)
# What no two runs of one configuration need to share: as in tenet.config.run_config.run_id.
NOT_THE_CONFIGURATION = ("tracking", "resume", "rerun")
ABSENT = object()
NO_SUCH_KEY, OFF = "-", "none"


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted key; a class stands under its group's name as on the command line: `tenet`: `none`.

    What is switched off has no settings: those that an experiment left beside the class are dropped.
    """
    values = dict(_named(key, value) for key, value in flatten(config))
    return {key: value for key, value in values.items() if values.get(key.rpartition(".")[0]) != OFF}


def _named(key: str, value: Any) -> tuple[str, Any]:
    group, _, name = key.rpartition(".")
    if name != "_target_" or not group:
        return key, value
    return group, OFF if value is None else str(value).rpartition(".")[2]


def differing_keys(configs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Keys of the experiment whose values differ, but for those that only tell again which class was chosen:
    a key that every run of one class has, with one value, and no run of another."""
    texts = varying(configs)
    return tuple(key for key in texts if not _is_no_part(key) and not _follows_from_class(key, texts))


def varying(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Every key with more than one value, and its value in each configuration."""
    keys = dict.fromkeys(key for config in configs for key in config)
    texts = {key: [value_text(config, key) for config in configs] for key in keys}
    return {key: values for key, values in texts.items() if len(set(values)) > 1}


def is_same_configuration(config: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return not any(key.partition(".")[0] not in NOT_THE_CONFIGURATION for key in varying([config, other]))


def _is_no_part(key: str) -> bool:
    return any(key == out or key.startswith(f"{out}.") for out in NO_PART_OF_THE_EXPERIMENT)


def _follows_from_class(key: str, texts: Mapping[str, Sequence[str]]) -> bool:
    group = key.rpartition(".")[0]
    if group not in texts:
        return False
    pairs = set(zip(texts[group], texts[key], strict=True))
    present = {text for text in texts[key] if text != NO_SUCH_KEY}
    return len(pairs) == len(set(texts[group])) and len(present) == 1


def value_text(config: Mapping[str, Any], key: str) -> str:
    """As people write it; `-` where there is no such key."""
    value = config.get(key, ABSENT)
    if value is ABSENT:
        return NO_SUCH_KEY
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 1.0 and 1 are the same setting
    return printable(value if isinstance(value, str) else json.dumps(value, default=str))


def short_numbers(texts: Sequence[str]) -> dict[str, str]:
    """Each text, with four significant digits where it is a fraction; all as they are where two would look alike."""
    short = {text: _four_digits(text) for text in texts}
    return short if len(set(short.values())) == len(short) else {text: text for text in texts}


def _four_digits(text: str) -> str:
    number = as_number(text)
    is_fraction = number is not None and not number.is_integer()
    return min(f"{number:.4g}", text, key=len) if is_fraction else text


def natural(text: str) -> tuple[bool, float, str]:
    """Sorts numbers by their size, before words."""
    number = as_number(text)
    return (number is None, number or 0.0, text)


def as_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def label(keys: Sequence[str], values: Sequence[str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in zip(keys, values, strict=True)) or "all runs"


def short_label(keys: Sequence[str], values: Sequence[str]) -> str:
    """For people: keys by their last part where that says which, and no word of keys that a group lacks."""
    lasts = [key.rpartition(".")[2] for key in keys]
    names = [last if lasts.count(last) == 1 else key for key, last in zip(keys, lasts, strict=True)]
    there = [(name, value) for name, value in zip(names, values, strict=True) if value != NO_SUCH_KEY]
    return label([name for name, _ in there], [value for _, value in there])
