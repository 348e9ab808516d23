"""Objects from a configuration: each group names a class by its `_target_`. Torch isn't imported here."""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any, NamedTuple

from tenet.errors import ConfigError, UserError


class Allowed(NamedTuple):
    """What the `_target_` of a group may name: a class that `package` defines, derived from one of `bases`."""

    package: str
    bases: tuple[str, ...]


# A configuration may be untrusted, and Hydra's `instantiate` would call any function that it names. Only code can
# add to this table.
ALLOWED_TARGETS = {
    "dataset": Allowed("tenet.data", ("tenet.data.Dataset",)),
    "backbone": Allowed("tenet.networks", ("torch.nn.Module",)),
    "tenet": Allowed("tenet.methods", ("tenet.methods.Inhibited",)),
    "objective": Allowed("tenet.methods", ("tenet.methods.Method",)),
    "augment": Allowed("tenet.augment", ("tenet.augment.Augmentation",)),
    "mixing": Allowed("tenet.mixing", ("tenet.mixing.Mixing",)),
    "optimizer": Allowed("torch.optim", ("torch.optim.Optimizer",)),
    "schedule": Allowed("tenet.training.schedule", ("tenet.training.schedule.Schedule",)),
    "ema": Allowed("tenet.training.averaging", ("tenet.training.averaging.AveragingSettings",)),
    "trainer": Allowed("tenet.training.settings", ("tenet.training.settings.TrainingSettings",)),
    "tracking": Allowed("tenet.tracking", ("tenet.tracking.Tracking",)),
    "launcher": Allowed("tenet.launching", ("tenet.launching.executor.Executor",)),
}

# Groups whose option `none` builds nothing.
OPTIONAL = ("tenet", "mixing")


def build(config: Mapping[str, Any] | None, *args: Any, key: str, **kwargs: Any) -> Any:
    """Construct the class that `_target_` names from the other values, `args` and `kwargs`; None if null.

    key: the group, for the message. Raises ConfigError if the target is not allowed or refuses its
    arguments.
    """
    if config is None or (key in OPTIONAL and config.get("_target_") is None):
        return None
    if "_target_" not in config:
        raise ConfigError(f"{key}._target_ is missing")
    values = {name: value for name, value in config.items() if name != "_target_"}
    target = locate(str(config["_target_"]), key=key)
    with prefix_errors(key):
        return target(*args, **values, **kwargs)


@contextmanager
def prefix_errors(key: str) -> Iterator[None]:
    """Turn a TypeError or ValueError into a ConfigError that begins with the key: under `tenet`, the message
    `groups=0 ...` becomes `tenet.groups=0 ...`."""
    try:
        yield
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        message = str(error).removeprefix(f"{key}.")
        raise ConfigError(
            f"{key}.{message}" if re.match(r"\w+=", message) else f"{key}: {message}"
        ) from error


def locate(target: str, *, key: str) -> Callable[..., Any]:
    """Import the class that `target` names, or the function that builds a backbone.

    Raises ConfigError unless ALLOWED_TARGETS allows it for `key`.
    """
    allowed = ALLOWED_TARGETS[key]
    module_name, _, name = target.rpartition(".")
    if not is_within(module_name, allowed.package):
        raise refusal(target, key=key)
    try:
        found: Any = getattr(importlib.import_module(module_name), name, None)
    except ImportError as error:
        raise ConfigError(f"{refusal(target, key=key)} ({error})") from error
    # Where it was defined: a module also holds what it imports from elsewhere.
    is_builder = key == "backbone" and inspect.isfunction(found)
    if not (is_builder or inspect.isclass(found)) or not is_within(found.__module__, allowed.package):
        raise refusal(target, key=key)
    if is_builder:
        return found
    if not issubclass(found, tuple(map(resolve_name, allowed.bases))):
        raise ConfigError(f"{key}._target_={target:.200}: must derive from {' or '.join(allowed.bases)}")
    return found


def refusal(target: str, *, key: str) -> ConfigError:
    return ConfigError(f"{key}._target_={target:.200}: must be a class of {ALLOWED_TARGETS[key].package}")


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")
