"""Configuration keys of runs: which keys differ, and how their values are written."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tenet.config.rules import flatten
from tenet.errors import printable

# Keys that may differ between runs of one experiment: logging, hardware and the seed.
NOT_COMPARED = (
    "seed",
    "choices",
    "resume",
    "rerun",
    "tracking",
    "dataset.root",
    "trainer.device",
    "trainer.deterministic",
    "trainer.timeout_minutes",
    "trainer.checkpoint_every_steps",
    "trainer.checkpoint_every_minutes",
    "trainer.evaluation_batch_size",
    "trainer.log_every_steps",
    "trainer.evaluate_every_epochs",
)
ABSENT, OFF = "-", "none"


def flatten_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted key. A class is listed under its group's name, as on the command line: `tenet`: `none`.

    A class of the package or of torch is named without its module, others with it: two of them may have the same name.
    The other settings of a group that is off are dropped, since nothing reads them.
    """
    values = {}
    for key, value in flatten(config):
        group, _, name = key.rpartition(".")
        if group and name == "_target_":
            is_known = str(value).startswith(("tenet.", "torch."))
            name = str(value).rpartition(".")[2] if is_known else value
            key, value = group, OFF if value is None else name
        values[key] = value
    return {key: value for key, value in values.items() if values.get(key.rpartition(".")[0]) != OFF}


def varying(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The keys with more than one value, and each configuration's value as text."""
    keys = dict.fromkeys(key for config in configs for key in config)
    texts = {key: [value_text(config, key) for config in configs] for key in keys}
    return {key: values for key, values in texts.items() if len(set(values)) > 1}


def differing_keys(configs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The keys that tell experiments apart.

    A key that only one class has, with one value in all runs of that class, adds nothing to the class.
    """
    texts = varying(configs)

    def follows_from_class(key: str) -> bool:
        classes = texts.get(key.rpartition(".")[0], ())
        pairs = set(zip(classes, texts[key], strict=False))
        return len(pairs) == len(set(classes)) > 0 and len(set(texts[key]) - {ABSENT}) == 1

    left_out = tuple(f"{name}." for name in NOT_COMPARED)
    compared = (key for key in texts if not f"{key}.".startswith(left_out))
    return tuple(key for key in compared if not follows_from_class(key))


def value_text(config: Mapping[str, Any], key: str) -> str:
    """The value as text; `-` if the configuration has no such key."""
    if key not in config:
        return ABSENT
    value = config[key]
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 1.0 and 1 are the same setting
    return printable(value if isinstance(value, str) else json.dumps(value, default=str))


def short_numbers(texts: Sequence[str]) -> dict[str, str]:
    """Text -> the text with fractions rounded to four significant digits, unless two would then look alike."""
    short = {}
    for text in texts:
        number = as_number(text)
        is_fraction = number is not None and not number.is_integer()
        short[text] = min(f"{number:.4g}", text, key=len) if is_fraction else text
    return short if len(set(short.values())) == len(short) else {text: text for text in texts}


def natural(text: str) -> tuple[bool, float, str]:
    """Sort key: numbers by size, before words."""
    number = as_number(text)
    return (number is None, number or 0.0, text)


def as_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def short_label(keys: Sequence[str], values: Sequence[str]) -> str:
    """`key=value, ...` with the last part of each key if that is unambiguous, and without absent keys."""
    lasts = [key.rpartition(".")[2] for key in keys]
    names = [last if lasts.count(last) == 1 else key for key, last in zip(keys, lasts, strict=True)]
    texts = (f"{name}={value}" for name, value in zip(names, values, strict=True) if value != ABSENT)
    return ", ".join(texts) or "all runs"
