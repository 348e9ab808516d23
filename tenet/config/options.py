"""The names of a configuration's parts as a user types them: `tenet=inhibition`, `backbone=resnet8`."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tenet.config.rules import flatten
from tenet.files.plain import read_yaml

CONF = Path(__file__).resolve().parents[2] / "conf"
OFF = "none"
METHOD = ("backbone", "tenet", "objective", "attack", "augment", "mixing")


def options_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The option of each group of a run's configuration: the recorded choice, or else `option_name`."""
    choices = config.get("choices")
    choices = choices if isinstance(choices, Mapping) else {}
    groups = {
        key: value for key, value in config.items() if isinstance(value, Mapping) and "_target_" in value
    }
    named = {group: choices.get(group) for group in groups}
    return {
        group: choice if isinstance(choice, str) else option_name(group, dict(flatten(groups[group])))
        for group, choice in named.items()
    }


def method_of(config: Mapping[str, Any]) -> str:
    """The options that tell one training method from another, such as `backbone=resnet8 tenet=inhibition`."""
    options = options_of(config)
    names = [group for group in METHOD if options.get(group, OFF) not in (OFF, "cross_entropy")]
    return " ".join(f"{group}={options[group]}" for group in names)


def option_name(group: str, settings: Mapping[str, Any]) -> str:
    """The option of a group whose settings these are, by dotted key; for the runs of versions that recorded no choices.

    Of several options of one class, the one with the most equal settings. A class without an option is named without its
    module if it is of the package or of torch, others with it: two of them may have the same name.
    """
    target = settings["_target_"]
    if target is None:
        return OFF

    def equal(option: str) -> int:
        return sum(settings.get(name) == value for name, value in options[option].items())

    options = {name: own for name, own in _options(group).items() if own.get("_target_") == target}
    if options:
        return max(options, key=equal)
    is_known = str(target).startswith(("tenet.", "torch."))
    return str(target).rpartition(".")[2] if is_known else str(target)


def default(group: str, option: str, name: str) -> Any:
    """The setting in the option's own file; None if it has none."""
    return _options(group).get(option, {}).get(name)


def is_option(group: str, option: str) -> bool:
    """Whether there is a file of this option."""
    return option in _options(group)


@functools.cache
def _options(group: str) -> dict[str, dict[str, Any]]:
    """By option, its settings by dotted key; empty for groups of other packages, whose files are not here."""
    files = sorted((CONF / group).glob("*.yaml")) if group.isidentifier() else []
    return {path.stem: dict(flatten(read_yaml(path) or {})) for path in files}
