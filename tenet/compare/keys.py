"""Configuration keys of runs: which keys differ, and how their values are written."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tenet.config.identity import is_compared
from tenet.config.options import OFF, default, options_of
from tenet.config.rules import flatten
from tenet.errors import printable

ABSENT = "-"


def flatten_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted key. A group's class is listed as its option, as on the command line: `tenet`: `inhibition`.

    The other settings of a group that is off are dropped, since nothing reads them. `choices`, the options that a run has
    recorded, is not listed, except for `experiment`, which nothing else in the configuration records.
    """
    choices, options = config.get("choices"), options_of(config)
    experiment = choices.get("experiment") if isinstance(choices, Mapping) else None
    values = {"experiment": experiment} if experiment else {}
    for key, value in flatten({key: value for key, value in config.items() if key != "choices"}):
        group, _, name = key.rpartition(".")
        is_option = name == "_target_" and group in options
        values[group if is_option else key] = options[group] if is_option else value
    return {key: value for key, value in values.items() if values.get(key.rpartition(".")[0]) != OFF}


def varying(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The keys with more than one value -> the value in each configuration, as text."""
    keys = dict.fromkeys(key for config in configs for key in config)
    texts = {key: [value_text(config, key) for config in configs] for key in keys}
    return {key: values for key, values in texts.items() if len(set(values)) > 1}


def differing_keys(configs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The keys that tell experiments apart.

    A key is left out if it follows from the option of its group: if only one option has the key, with one value in all
    runs of that option, or if each option has the value that is written in its own file.
    """
    texts = varying(configs)

    def follows_from_option(key: str) -> bool:
        group, _, name = key.rpartition(".")
        options = texts.get(group, ())
        pairs = set(zip(options, texts[key], strict=False))
        if not len(pairs) == len(set(options)) > 0:
            return False
        is_of_one = len(set(texts[key]) - {ABSENT}) == 1
        return is_of_one or all(
            value in (ABSENT, as_text(default(group, option, name))) for option, value in pairs
        )

    return tuple(key for key in texts if is_compared(key) and not follows_from_option(key))


def value_text(config: Mapping[str, Any], key: str) -> str:
    """The value as text; `-` if the configuration has no such key."""
    if key not in config:
        return ABSENT
    return as_text(config[key])


def as_text(value: Any) -> str:
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
    """`key=value, ...`, with only the last part of each key if that is unambiguous, and without absent keys."""
    lasts = [key.rpartition(".")[2] for key in keys]
    names = [last if lasts.count(last) == 1 else key for key, last in zip(keys, lasts, strict=True)]
    texts = (f"{name}={value}" for name, value in zip(names, values, strict=True) if value != ABSENT)
    return ", ".join(texts) or "all runs"
