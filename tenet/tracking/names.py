"""Names of runs and groups in W&B, made of what was typed or configured."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tenet.config.identity import is_compared
from tenet.config.rules import flatten
from tenet.files.plain import read_yaml

MAX_CHARACTERS = 128  # the limit of W&B
NAMED_BY = ("dataset", "backbone", "tenet")


def short_name(overrides: Sequence[str]) -> str:
    """Such as `groups=4 seed=1`: the last part of each key if that is unambiguous."""
    parts = [override.lstrip("+").partition("=") for override in overrides]
    lasts = [key.rpartition(".")[2] for key, _, _ in parts]
    keys = [last if lasts.count(last) == 1 else part[0] for last, part in zip(lasts, parts, strict=True)]
    return cut(" ".join(key + equals + value for key, (_, equals, value) in zip(keys, parts, strict=True)))


def cut(text: str) -> str:
    """The text, cut to MAX_CHARACTERS after a whole word or after a whole value of a list."""
    if len(text) <= MAX_CHARACTERS:
        return text
    head = text[: MAX_CHARACTERS - 1]
    end = max(head.rfind(" "), head.rfind(","))
    return f"{head[: end + 1].rstrip() if end >= 0 else head}…"


def setting(config: Mapping[str, Any]) -> str:
    """A name that is equal for runs that differ only in the seed, in logging or in hardware: W&B can group runs by it."""
    values = {key: value for key, value in flatten(config) if is_compared(key)}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:8]
    choices = config.get("choices", {})
    return "-".join([*(choices[group] for group in NAMED_BY if group in choices), digest])


def chosen_by_agent() -> str:
    """What a sweep's agent chose for this run, such as `groups=4 seed=1`; empty without an agent."""
    with suppress(OSError, ValueError):
        chosen = read_yaml(Path(os.environ.get("WANDB_SWEEP_PARAM_PATH", "")))
        values = {key: each["value"] for key, each in chosen.items() if isinstance(each, Mapping)}
        return short_name([f"{key}={value}" for key, value in values.items()])
    return ""
