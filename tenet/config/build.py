"""Objects from a configuration: each group names a class by its `_target_`. Torch isn't imported here."""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any, NamedTuple

from tenet.config.plugins import is_within, plugin_of
from tenet.errors import ConfigError, UserError


class Allowed(NamedTuple):
    """What the `_target_` of a group may name: a class that `package` or a plugin defines, derived from one of `bases`."""

    package: str
    bases: tuple[str, ...]


# A configuration may be untrusted, and Hydra's `instantiate` would call any function that it names. Only code can
# add to this table, and only an installed package to what it allows (tenet/config/plugins.py).
ALLOWED_TARGETS = {
    "dataset": Allowed("tenet.data", ("tenet.data.Dataset",)),
    "backbone": Allowed("tenet.networks", ("torch.nn.Module",)),
    "tenet": Allowed("tenet.methods", ("tenet.methods.Inhibited",)),
    "objective": Allowed("tenet.methods", ("tenet.methods.Method",)),
    "attack": Allowed("tenet.methods", ("tenet.methods.Attack", "tenet.methods.Composed")),
    "augment": Allowed("tenet.augment", ("tenet.augment.Augmentation",)),
    "mixing": Allowed("tenet.mixing", ("tenet.mixing.Mixing",)),
    "optimizer": Allowed("torch.optim", ("torch.optim.Optimizer",)),
    "schedule": Allowed("tenet.training.schedule", ("tenet.training.schedule.Schedule",)),
    "ema": Allowed("tenet.training.averaging", ("tenet.training.averaging.AveragingSettings",)),
    "validation": Allowed(
        "tenet.experiment.validation", ("tenet.experiment.validation.CorruptedValidation",)
    ),
    "trainer": Allowed("tenet.training.settings", ("tenet.training.settings.TrainingSettings",)),
    "tracking": Allowed("tenet.tracking", ("tenet.tracking.Tracking",)),
    "suite": Allowed("tenet.evaluation.suites", ("tenet.evaluation.suites.Suite",)),
    "launcher": Allowed("tenet.launching", ("tenet.launching.executor.Executor",)),
}

# Groups whose option `none` builds nothing.
OPTIONAL = ("tenet", "attack", "mixing", "suite")
# Keys of the group `backbone`, of every class: where its initial weights come from. They do not construct anything.
INITIAL_WEIGHTS = ("weights", "weights_key", "weights_sha256")


def build(config: Mapping[str, Any] | None, *args: Any, key: str, **kwargs: Any) -> Any:
    """Construct the class that `_target_` names from the other values, `args` and `kwargs`; None if null.

    key: the group, for the message. Raises ConfigError if the target is not allowed or refuses its
    arguments.
    """
    if config is None or (key in OPTIONAL and config.get("_target_") is None):
        return None
    if "_target_" not in config:
        raise ConfigError(f"{key}._target_ is missing")
    left_out = ("_target_", *(INITIAL_WEIGHTS if key == "backbone" else ()))
    values = {name: value for name, value in config.items() if name not in left_out}
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
            f"{key}.{message}" if re.match(r"[\w.]+=", message) else f"{key}: {message}"
        ) from error


def locate(target: str, *, key: str) -> Callable[..., Any]:
    """Import the class that `target` names, or the function that builds a backbone.

    Raises ConfigError unless ALLOWED_TARGETS allows it for `key`.
    """
    module_name, _, name = target.rpartition(".")
    if not is_allowed(module_name, key=key):
        raise refusal(target, key=key)
    try:
        found: Any = getattr(importlib.import_module(module_name), name, None)
    except Exception as error:
        if plugin_of(module_name):
            reason = f"can't be imported ({type(error).__name__}: {error})"
            raise ConfigError(f"{key}._target_={target:.200}: {module_name} {reason}") from error
        if isinstance(error, ImportError):
            raise ConfigError(f"{refusal(target, key=key)} ({error})") from error
        raise
    # Where it was defined: a module also holds what it imports from elsewhere.
    is_builder = key == "backbone" and inspect.isfunction(found)
    if not (is_builder or inspect.isclass(found)) or not is_allowed(found.__module__, key=key):
        raise refusal(target, key=key)
    bases = ALLOWED_TARGETS[key].bases
    if not is_builder and not issubclass(found, tuple(map(resolve_name, bases))):
        raise ConfigError(f"{key}._target_={target:.200}: must derive from {' or '.join(bases)}")
    return found


def is_allowed(module: str, *, key: str) -> bool:
    """Whether a `_target_` of the group may be defined in this module."""
    return is_within(module, ALLOWED_TARGETS[key].package) or plugin_of(module) is not None


def refusal(target: str, *, key: str) -> ConfigError:
    """The error for a target that is not allowed, or not there."""
    if plugin := plugin_of(target):
        rule = f"the plugin {plugin.package} defines no such class; name the module that does"
    else:
        rule = f"must be a class of {ALLOWED_TARGETS[key].package}"
        top = target.partition(".")[0]
        if top.isidentifier() and top not in ("tenet", "torch"):
            rule += f", and no installed plugin provides {top:.200} (docs/extending.md)"
    return ConfigError(f"{key}._target_={target:.200}: {rule}")
