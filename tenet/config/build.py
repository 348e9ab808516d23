"""From the command line and YAML to checked values, and from values to objects. Torch isn't imported here."""

import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tenet.errors import ConfigError, UserError

# Configurations may come from others: a `_target_` names a class that one of these modules defines, or
# nothing. Only code can widen the list. (Hydra's unrestricted `instantiate` runs any callable at all.)
ALLOWED_TARGETS = {
    "dataset": "tenet.data",
    "backbone": "tenet.networks",
    "tenet": "tenet.inhibition",
    "augment": "tenet.augment",
    "optimizer": "torch.optim",
    "schedule": "tenet.training.schedule",
    "trainer": "tenet.training.settings",
    "tracking": "tenet.tracking",
    "launcher": "tenet.launching",
}
# What the objects of each group have, and no others that are built from its modules.
KINDS = {
    "dataset": "load",
    "backbone": "forward",
    "tenet": "is_due",
    "augment": "views",
    "optimizer": "add_param_group",
    "schedule": "warmup_steps",
    "trainer": "batch_size",
    "tracking": "start",
    "launcher": "run",
}


def build(config: Mapping[str, Any] | None, *args: Any, key: str, **kwargs: Any) -> Any:
    """Construct the class that `_target_` names from the other values, `args` and `kwargs`; None if null.

    key: where `config` stands, for the message. Raises ConfigError if the target is not allowed or
    refuses its arguments.
    """
    if config is None or (key == "tenet" and config.get("_target_") is None):
        return None
    if "_target_" not in config:
        raise ConfigError(f"{key}._target_ is missing")
    values = {name: value for name, value in config.items() if name != "_target_"}
    with prefix_errors(key):
        built = locate(str(config["_target_"]), key=key)(*args, **values, **kwargs)
    if not hasattr(built, KINDS[key]):
        raise ConfigError(f"{key}._target_={config['_target_']}: another kind of class; choose {key}=OPTION")
    return built


@contextmanager
def prefix_errors(key: str) -> Iterator[None]:
    """Put the key before what a constructor or a check says of its arguments: `groups=0 ...` under `tenet`
    becomes `tenet.groups=0 ...`, as a ConfigError."""
    try:
        yield
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        message = str(error).removeprefix(f"{key}.")
        raise ConfigError(
            f"{key}.{message}" if re.match(r"\w+=", message) else f"{key}: {message}"
        ) from error


def locate(target: str, *, key: str) -> type:
    """The class `target` names. Raises ConfigError unless the module allowed for `key` defines it."""
    allowed = f"{key}._target_={target}: must be a class of {ALLOWED_TARGETS[key]}"
    module_name, _, name = target.rpartition(".")
    if not _within(module_name, ALLOWED_TARGETS[key]):
        raise ConfigError(allowed)
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except ImportError as error:
        raise ConfigError(f"{allowed} ({error})") from error
    # Where it was defined, not only where it was found: a module's own imports are not for the taking.
    if not inspect.isclass(found) or not _within(found.__module__, ALLOWED_TARGETS[key]):
        raise ConfigError(allowed)
    return found


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")
