"""From the command line and YAML to checked values, and from values to objects. Torch isn't imported here."""

import hashlib
import importlib
import inspect
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tenet import __version__
from tenet.errors import ConfigError, UserError
from tenet.overrides import is_hydras, parse
from tenet.paths import user_path
from tenet.plain_files import read_yaml
from tenet.rules import check_rules
from tenet.storage import write_atomically

CONFIG_FILE = "config.yaml"

# Configurations may come from others: a `_target_` names a class that one of these modules defines, or
# nothing. Only code can widen the list. (Hydra's unrestricted `instantiate` runs any callable at all.)
ALLOWED_TARGETS = {
    "dataset": "tenet.data",
    "backbone": "tenet.backbones",
    "tenet": "tenet.inhibition",
    "augment": "tenet.augment",
    "optimizer": "torch.optim",
    "schedule": "tenet.schedule",
    "trainer": "tenet.training_settings",
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
# What the configuration of every run holds.
RUN_KEYS = ("seed", "dataset", "backbone", "tenet", "augment", "optimizer", "schedule", "trainer", "tracking")
# Keys without which two runs are the same experiment.
NOT_THE_EXPERIMENT = ("tracking", "resume", "rerun")
# What a resumed run may change: how far and on what it trains, and what is done beside, never what it is.
CHANGEABLE_ON_RESUME = (
    "trainer.epochs",
    "trainer.max_steps",
    "trainer.device",
    "trainer.evaluation_batch_size",
    "trainer.evaluate_every_epochs",
    "trainer.checkpoint_every_steps",
    "trainer.checkpoint_every_minutes",
    "trainer.on_nonfinite",
    "trainer.max_nonfinite_steps",
)


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
    with naming(key):
        built = locate(str(config["_target_"]), key=key)(*args, **values, **kwargs)
    if not hasattr(built, KINDS[key]):
        raise ConfigError(f"{key}._target_={config['_target_']}: another kind of class; choose {key}=OPTION")
    return built


@contextmanager
def naming(key: str) -> Iterator[None]:
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


def resolve(config: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of what Hydra composed, every interpolation replaced.

    Raises ConfigError naming a missing or wrong value.
    """
    try:
        missing = sorted(OmegaConf.missing_keys(config))
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(first_line(error)) from error
    if missing:
        raise ConfigError(f"{missing[0]} is missing: give {missing[0]}=VALUE")
    values: dict[str, Any] = dict(plain)  # type: ignore[arg-type]
    check_rules(values)
    values.pop("launcher", None)  # how jobs are started is no part of what any of them is
    if values.get("dataset") and "path" in values["dataset"]:
        # For an evaluation or a resumed run, which may start from another folder.
        path = user_path(values["dataset"]["path"], key="dataset.path")
        # Not Path.resolve, which fails for links in a circle: whoever opens the file tells of them.
        values["dataset"]["path"] = os.path.realpath(path)
        check_rules(values)  # the folders above, too, will be written down and read again
    return values


def run_id(config: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits: the same for the same resolved configuration and version of the package.

    Keys that only say where to log, or how to treat an earlier run, don't count.
    """
    content = {key: value for key, value in config.items() if key not in NOT_THE_EXPERIMENT}
    text = json.dumps({"package_version": __version__, **content}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def run_name(*, _root_: Any) -> str:
    """The name of a run's folder, from its configuration: such as cifar10-resnext29-inhibition-seed0-1f0c5a2b3d.

    A resolver, `${run_name:}`, for Hydra's folders: it sees Hydra's own configuration beside ours.
    """
    choices = _root_.hydra.runtime.choices
    names = [str(choices.get(group)) for group in ("dataset", "backbone", "tenet")]
    own = OmegaConf.masked_copy(_root_, [key for key in _root_ if key != "hydra"])
    config = resolve(own)
    return "-".join([*names, f"seed{config['seed']}", run_id(config)])


OmegaConf.register_new_resolver("run_name", run_name, replace=True)


def write_config(config: Mapping[str, Any], path: Path) -> None:
    text = yaml.safe_dump(dict(config), sort_keys=False)
    # A run folder must not be left with half of its configuration.
    write_atomically(path, lambda temporary: temporary.write_text(text))


def read_config(run_dir: Path) -> dict[str, Any]:
    """The resolved configuration of a run folder, as plain values: nothing in it is interpolated or run.

    The folder may come from others: it is refused, by a ConfigError, if it holds a link that leads out of it.
    """
    path = run_dir / CONFIG_FILE
    try:
        config = read_yaml(path)
        leading_out = next(_links_out(run_dir), None)
    except OSError as error:
        raise ConfigError(
            f"{run_dir} is not a run folder: {path.name} can't be read ({error.strerror or error})"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if leading_out is not None:
        raise ConfigError(f"{leading_out} is a link out of the run folder; put there what it names")
    if not isinstance(config, dict):
        raise ConfigError(f"{path} holds no configuration")
    if lacking := [key for key in RUN_KEYS if key not in config]:
        raise ConfigError(f"{path} is not the configuration of a run: it lacks {', '.join(lacking)}")
    check_rules(config)
    return config


def _links_out(run_dir: Path) -> Iterator[Path]:
    """Where writing into the folder would write elsewhere. W&B's own files are not looked at, but for their folder."""
    inside = run_dir.resolve()
    for folder, names, files in os.walk(inside):
        for path in (Path(folder, name) for name in (*names, *files)):
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
                yield run_dir / path.relative_to(inside)
        names[:] = [name for name in names if name != "wandb"]


def resumed_config(run_dir: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """The run's own configuration with the `overrides` that leave the experiment what it is.

    Raises ConfigError for any other override.
    """
    config = read_config(run_dir)
    for override in parse(overrides):
        key = override.get_key_element()
        if key == "resume" or is_hydras(key):
            continue
        if key not in CHANGEABLE_ON_RESUME:
            raise ConfigError(
                f"{override.input_line}: a resumed run keeps its configuration, but for "
                f"{', '.join(CHANGEABLE_ON_RESUME)}"
            )
        group, _, name = key.partition(".")
        config[group][name] = override.value()
    check_rules(config)
    return config


def as_argument(key: str, value: object) -> str:
    """`key=value`, quoted for Hydra and for a shell where the value needs it: to be pasted."""
    text = str(value)
    if re.fullmatch(r"[\w./~+:-]+", text):
        return f"{key}={text}"
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return shlex.quote(f"{key}='{escaped}'")


def first_line(error: Exception) -> str:
    """Of an error of Hydra's, after the key that it is about."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    key = getattr(error, "full_key", None)
    return f"{key}: {line}" if key else line
